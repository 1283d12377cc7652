//! Why a body is refused: [`BadRequest`].

use portreeve_api::violation::Violation;

/// A body that can't be used: the answer is 400 (seed C.5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadRequest {
    /// The field, for example `service.spec.public-ports[0].port`, or `request body`.
    pub field: String,
    /// What is wrong with it, and what to send.
    pub message: String,
}

// === impl BadRequest ===

impl BadRequest {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// Returns the first rule that an object breaks. `under` is the key of the object in the body.
    pub(super) fn of_violations(under: &str, violations: Vec<Violation>) -> Self {
        match violations.into_iter().next() {
            Some(broken) => Self::new(format!("{under}.{}", broken.path), broken.message),
            None => Self::new(under, "can't be read: send another value"),
        }
    }
}
