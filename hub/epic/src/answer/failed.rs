//! Errors, each `{"error": TEXT}` and a header with the text: [`error`] and its special cases (seed C.5).

use std::fmt::Display;
use std::time::Duration;

use http::status::StatusCode;
use serde_json::json;

use super::Answer;
use crate::path::Target;
use crate::request::BadRequest;

/// Maximum length of an error's text, in characters. Longer texts are cut, since some proxies refuse long headers.
pub const MAX_ERROR: usize = 1024;

/// Answers `{"error": TEXT}` with any status.
pub fn error(status: StatusCode, text: impl Display) -> Answer {
    let text: String = text.to_string().chars().take(MAX_ERROR).collect();
    Answer { error: Some(text.clone()), ..Answer::new(status, json!({"error": text})) }
}

/// Answers 400: the body can't be used.
pub fn bad_request(why: &BadRequest) -> Answer {
    error(StatusCode::BAD_REQUEST, why)
}

/// Answers 401 with a challenge: there are no credentials, or they are wrong. `why` must not say which of user and
/// password is wrong.
pub fn unauthorized(why: impl Display) -> Answer {
    error(StatusCode::UNAUTHORIZED, why)
}

/// Answers 403: the user is right, but serves another account (seed C.6 "Users").
pub fn forbidden(target: &Target) -> Answer {
    error(
        StatusCode::FORBIDDEN,
        format!(
            "this user has no right to {target}: use one of a Secret in the account's namespace or in namespace epic"
        ),
    )
}

/// Answers 404. `what` is the path or the object that is missing.
pub fn not_found(what: impl Display) -> Answer {
    error(StatusCode::NOT_FOUND, format!("{what} not found"))
}

/// Answers 429 with the time after which the next request is taken.
pub fn too_many_requests(wait: Duration) -> Answer {
    let answer =
        error(StatusCode::TOO_MANY_REQUESTS, "too many requests: send the next one after Retry-After");
    Answer { retry_after: Some(wait), ..answer }
}

/// Answers 500: the object can't be read or written, for example because no address is left (seed C.6 "LB without ids
/// yet").
pub fn internal(why: impl Display) -> Answer {
    error(StatusCode::INTERNAL_SERVER_ERROR, why)
}
