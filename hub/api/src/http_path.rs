//! Paths of HTTP health checks. [`HttpPath::parse`] accepts the same texts as the CRD's schema.
//! [`HttpPath::request_target`] is the form that is sent.

use std::borrow::Cow;

use crate::percent;

/// Maximum length of a path, in characters.
pub const MAX_PATH: usize = 1024;

/// A valid path, as its author wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpPath<'a>(&'a str);

/// The reason why a text is not a valid path, for its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPath(String);

// === impl HttpPath ===

impl<'a> HttpPath<'a> {
    /// The schema's pattern for the same texts. The length is checked separately.
    pub const PATTERN: &'static str = r"^/[^\s]*$";

    /// Reads a path, with or without a query.
    ///
    /// # Errors
    /// Returns [`BadPath`] if the text is empty, doesn't begin with `/`, holds ASCII white space or is longer than
    /// [`MAX_PATH`].
    pub fn parse(text: &'a str) -> Result<Self, BadPath> {
        let count = text.chars().count();
        if count == 0 {
            return Err(BadPath("must not be empty".into()));
        }
        if count > MAX_PATH {
            return Err(BadPath(format!("must have at most {MAX_PATH} characters, has {count}")));
        }
        match text.starts_with('/') && !text.contains(['\t', '\n', '\x0c', '\r', ' ']) {
            true => Ok(Self(text)),
            false => Err(BadPath("must begin with / and hold no white space".into())),
        }
    }

    /// The path as written in the request line. Characters that aren't allowed there are percent-encoded (RFC 3986,
    /// section 2.1); all others stay as they are, including `%`. The result is ASCII without control characters.
    pub fn request_target(&self) -> Cow<'a, str> {
        percent::encode(self.0, may_stand)
    }
}

fn may_stand(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'`')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_taken_as_the_crd_takes_it() {
        for good in ["/", "/healthcheck", "/a?b=c", "/<", "/a`b", "/\u{e9}", "/#x", "/\u{7f}", "/%zz", "//"] {
            assert_eq!(HttpPath::parse(good), Ok(HttpPath(good)));
        }
        for bad in ["", "x", "?a", "/ ", "/a\tb", "/a\nb", "/a\rb", "/a\x0cb"] {
            assert!(HttpPath::parse(bad).is_err(), "{bad:?}");
        }
        let long = |count| format!("/{}", "\u{e9}".repeat(count));
        assert!(HttpPath::parse(&long(MAX_PATH - 1)).is_ok());
        let error = HttpPath::parse(&long(MAX_PATH)).unwrap_err();
        assert_eq!(error.to_string(), "must have at most 1024 characters, has 1025");
    }

    #[test]
    fn what_can_not_stand_in_a_request_line_is_percent_encoded() {
        let cases = [
            ("/healthcheck?a=b&c=%20d", "/healthcheck?a=b&c=%20d"),
            ("/{x}|^[y]~!$'()*+,;:@\\", "/{x}|^[y]~!$'()*+,;:@\\"),
            ("/<a>`\"", "/%3Ca%3E%60%22"),
            ("/#x", "/%23x"),
            ("/\u{e9}\u{7f}\0", "/%C3%A9%7F%00"),
        ];
        for (path, target) in cases {
            assert_eq!(HttpPath::parse(path).unwrap().request_target(), target);
        }
    }
}
