//! Retries of requests: [`Retries`].

use std::time::Duration;

use portreeve_api::model::Rule;

/// The failures that an Envoy can retry, as API B writes them. It can't replace a connection that was made.
pub const CONNECT_FAILURE: &str = "connect-failure";

/// Retries of connections that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Their number.
    pub number: u32,
    /// The timeout of one attempt, and the pause before the next one.
    pub timeout: Duration,
}

/// Returns the retries that a rule asks for. `None`: none, or others than an Envoy makes.
pub fn of(rule: &Rule) -> Option<Retries> {
    let retry = rule.route.as_ref()?.retry.as_ref()?;
    let number = retry.attempts.filter(|_| retry.on.as_deref() == Some(CONNECT_FAILURE))?;
    Some(Retries { number: number.into(), timeout: retry.timeout? })
}
