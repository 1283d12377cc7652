//! What the web service answers: [`Answer`], and a function for each row of the table in seed C.5.
//!
//! Links and Locations are paths without scheme and host. Clients resolve them against the host of their own URL.

mod changed;
mod failed;
mod found;
mod links;
mod tunnels;

use std::time::Duration;

use http::header::{
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::status::StatusCode;
use serde_json::Value;

pub use changed::{clusters_left, created, duplicate_endpoint, exists, message};
pub use failed::{
    MAX_ERROR, bad_request, error, forbidden, internal, not_found, too_many_requests, unauthorized,
};
pub use found::{account, cluster, endpoint, group, service};

/// The header that repeats an error's text (seed C.5).
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("x-epic-error-message");

/// How clients authenticate. The realm is the original's (seed C.5).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"epicauth\", charset=\"UTF-8\"");

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The path of the object that exists now, for 302 and 409.
    pub location: Option<String>,
    /// The error's text, for [`ERROR_HEADER`].
    pub error: Option<String>,
    /// How long the client must wait, for 429.
    pub retry_after: Option<Duration>,
    /// The body. The answer 302 has an empty object.
    pub body: Value,
}

// === impl Answer ===

impl Answer {
    fn new(status: StatusCode, body: Value) -> Self {
        Self { status, location: None, error: None, retry_after: None, body }
    }

    /// Returns the headers: Content-Type, and what the answer has of Location, [`ERROR_HEADER`], Retry-After (whole
    /// seconds, at least 1) and WWW-Authenticate (for 401).
    ///
    /// Characters that a header can't hold become `?`.
    pub fn headers(&self) -> HeaderMap {
        let wait =
            self.retry_after.map(|wait| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)));
        let asks = self.status == StatusCode::UNAUTHORIZED;
        let optional = [
            (LOCATION, self.location.as_deref().and_then(header_value)),
            (ERROR_HEADER, self.error.as_deref().and_then(header_value)),
            (RETRY_AFTER, wait.map(|seconds| HeaderValue::from(seconds.max(1)))),
            (WWW_AUTHENTICATE, asks.then_some(CHALLENGE)),
        ];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.chain([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]).collect()
    }
}

fn header_value(text: &str) -> Option<HeaderValue> {
    let shown = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    HeaderValue::from_str(&text.chars().map(shown).collect::<String>()).ok()
}
