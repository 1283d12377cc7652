//! Segments of paths, escaped like Go's `url.QueryEscape` does: [`escape`] and its inverse, [`unescape`] (seed C.5).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The ASCII characters that Go escapes.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Escapes a text. A space becomes `+`, a slash `%2F`.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string().replace("%20", "+")
}

/// Returns the text of a segment; `None` if a `%` is without two hexadecimal digits, or the text isn't UTF-8.
pub(crate) fn unescape(segment: &str) -> Option<String> {
    let segment = segment.replace('+', " ");
    let digits =
        |part: &str| part.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    if !segment.split('%').skip(1).all(digits) {
        return None;
    }
    percent_decode_str(&segment).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn text_is_escaped_like_go_does() {
        for (text, escaped) in [
            ("purelb-default-web", "purelb-default-web"),
            ("a b/c", "a+b%2Fc"),
            ("1+1=2", "1%2B1%3D2"),
            ("100%", "100%25"),
            ("%20", "%2520"),
            ("~-_.", "~-_."),
            ("*'()!", "%2A%27%28%29%21"),
            ("é", "%C3%A9"),
            ("\0", "%00"),
        ] {
            assert_eq!(escape(text), escaped);
            assert_eq!(unescape(escaped).as_deref(), Some(text));
        }
    }

    #[test]
    fn lower_case_digits_and_bare_characters_are_read_too() {
        for (escaped, text) in [("%2f", "/"), ("a%20b", "a b"), ("a:b", "a:b"), ("é", "é"), ("", "")] {
            assert_eq!(unescape(escaped).as_deref(), Some(text), "{escaped}");
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for escaped in
            ["%", "a%", "%2", "%zz", "%+1", "%-1", "%é", "%%41", "%ff", "%C3", "%ED%A0%80", "%C0%AF"]
        {
            assert_eq!(unescape(escaped), None, "{escaped}");
        }
    }
}
