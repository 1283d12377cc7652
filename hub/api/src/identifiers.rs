//! The API server's syntax of names, label keys and label values.

/// Returns whether a text is one label of a DNS name (RFC 1123) of any length: lower-case letters, digits and `-`, with
/// a letter or a digit at both ends.
pub fn is_dns_label(text: &str) -> bool {
    let end = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().all(|b| end(&b) || b == b'-') && has_ends(text, end)
}

/// Returns whether a text is a DNS name of at most 253 characters.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Returns whether a text is a label key: a word, optionally after a DNS name and a slash.
pub fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => is_dns_subdomain(domain) && is_word(name),
        None => is_word(text),
    }
}

/// Returns whether a text is a label value: a word or empty.
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_word(text)
}

/// Returns whether a text has at most 63 letters, digits, `-`, `_` and `.`, with a letter or a digit at both ends.
fn is_word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.len() <= 63 && text.bytes().all(inner) && has_ends(text, u8::is_ascii_alphanumeric)
}

fn has_ends(text: &str, end: impl Fn(&u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(&end) && bytes.last().is_some_and(&end)
}
