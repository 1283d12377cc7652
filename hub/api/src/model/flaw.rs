//! The error for an unreadable message ([`Flaw`]), and the readers of single fields that return it.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::str::FromStr;
use std::time::Duration;

/// A field with an invalid value, or with an unknown value that this version can't ignore.
///
/// Its text names the listener or cluster, the field's protobuf path and the value:
/// `listener udp: socket.port 70000 is not a port (1 to 65535)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Flaw {
    /// The listener, cluster or rule list that has the field, such as `listener udp`. `None`: the message itself.
    part: Option<String>,
    /// The field's path within the part, such as `socket.port`.
    field: String,
    /// The value and the problem.
    text: String,
}

/// The error for an unreadable Plan: its name and its first [`Flaw`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Plan {plan}: {flaw}")]
pub struct UnreadablePlan {
    /// The Plan's name, as far as its origin is readable.
    pub plan: String,
    /// The first flaw.
    pub flaw: Flaw,
}

// === impl Flaw ===

impl Flaw {
    pub(super) fn new(field: &str, text: impl Into<String>) -> Self {
        Self { part: None, field: field.to_owned(), text: text.into() }
    }

    pub(super) fn missing(field: &str) -> Self {
        Self::new(field, "is missing")
    }

    pub(super) fn unknown(field: &str, number: i32) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self::new(field, format!("{number} is not known to version {version}: update the agent"))
    }

    /// Prefixes the field's path with `field`, for a flaw in a nested message.
    #[must_use]
    pub(super) fn under(mut self, field: &str) -> Self {
        self.field = format!("{field}.{}", self.field);
        self
    }

    /// Adds the listener or cluster that has the flaw.
    #[must_use]
    pub(super) fn of(mut self, part: String) -> Self {
        self.part = Some(part);
        self
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(part) = &self.part {
            write!(f, "{part}: ")?;
        }
        write!(f, "{} {}", self.field, self.text)
    }
}

/// Checks a port's range. `None` for 0.
pub(super) fn port(field: &str, number: u32) -> Result<Option<NonZeroU16>, Flaw> {
    match u16::try_from(number) {
        Ok(port) => Ok(NonZeroU16::new(port)),
        Err(_) => Err(Flaw::new(field, format!("{number} is not a port (1 to 65535)"))),
    }
}

/// Returns a port's wire number.
pub(super) fn port_number(port: Option<NonZeroU16>) -> u32 {
    port.map_or(0, |port| u32::from(port.get()))
}

/// Parses an IP address.
pub(super) fn ip(field: &str, text: &str) -> Result<IpAddr, Flaw> {
    parsed(field, text, "an IP address")
}

/// Parses a value from its text; `what` describes the expected value.
pub(super) fn parsed<T: FromStr>(field: &str, text: &str, what: &str) -> Result<T, Flaw> {
    text.parse().map_err(|_| Flaw::new(field, format!("{text:?} is not {what}")))
}

/// Returns a text, or `None` if it is empty.
pub(super) fn text<T: From<String>>(text: String) -> Option<T> {
    (!text.is_empty()).then(|| text.into())
}

/// Returns a text that must not be empty.
pub(super) fn full<T: From<String>>(field: &str, value: String) -> Result<T, Flaw> {
    text(value).ok_or_else(|| Flaw::new(field, "is empty"))
}

/// Converts milliseconds to a duration. `None` for 0.
pub(super) fn duration(ms: u64) -> Option<Duration> {
    (ms != 0).then(|| Duration::from_millis(ms))
}

/// Converts a duration to milliseconds on the wire. 0 for `None`.
pub(super) fn ms(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |one| u64::try_from(one.as_millis()).unwrap_or(u64::MAX))
}

/// Returns a number's wire form. 0 for `None`.
pub(super) fn number(number: Option<NonZeroU32>) -> u32 {
    number.map_or(0, NonZeroU32::get)
}

/// Reads each message of a list.
pub(super) fn all<M, T: TryFrom<M, Error = Flaw>>(messages: Vec<M>) -> Result<Vec<T>, Flaw> {
    messages.into_iter().map(T::try_from).collect()
}

/// Writes each item of a list.
pub(super) fn written<'a, M, T>(items: &'a [T]) -> Vec<M>
where
    M: From<&'a T>,
{
    items.iter().map(M::from).collect()
}
