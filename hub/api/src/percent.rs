//! Percent-encoding (RFC 3986, section 2.1) of the bytes that a text must not hold where it goes.

use std::borrow::Cow;

/// `text` with each byte that `keeps` refuses as `%XX`, the bytes of UTF-8 in hexadecimal digits. `keeps` takes bytes of ASCII
/// alone.
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
