//! Percent-encoding (RFC 3986, section 2.1).

use std::borrow::Cow;

/// Returns `text` with `%XX` (UTF-8 bytes in hexadecimal digits) for each byte that `keeps` returns false for, and for
/// all bytes outside ASCII. `keeps` is only called with ASCII bytes.
pub(crate) fn encode(text: &str, keeps: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if text.bytes().all(&keeps) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match keeps(byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Cow::Owned(encoded)
}
