//! Why a message can't be read ([`Flaw`]), and the readers of single fields that find it.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::str::FromStr;
use std::time::Duration;

/// A field of a message that makes no sense, or that this version can't do without knowing it.
///
/// Its text names the listener or cluster, the field's path in the protobuf and the value: `listener udp: socket.port 70000 is
/// not a port (1 to 65535)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Flaw {
    /// The listener, cluster or rule list that has the field, as `listener udp`. `None`: the message itself.
    part: Option<String>,
    /// The field's path below the part, as `socket.port`.
    field: String,
    /// The value and what is wrong with it.
    text: String,
}

/// A Plan that can't be read, by its name and the first [`Flaw`] in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Plan {plan}: {flaw}")]
pub struct UnreadablePlan {
    /// The Plan's name, as far as its origin has one.
    pub plan: String,
    /// What is wrong with it.
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

    /// The same flaw, of a message that is the field `field` of another.
    #[must_use]
    pub(super) fn under(mut self, field: &str) -> Self {
        self.field = format!("{field}.{}", self.field);
        self
    }

    /// The same flaw, of a listener or cluster.
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

/// A port; `None` for 0.
pub(super) fn port(field: &str, number: u32) -> Result<Option<NonZeroU16>, Flaw> {
    match u16::try_from(number) {
        Ok(port) => Ok(NonZeroU16::new(port)),
        Err(_) => Err(Flaw::new(field, format!("{number} is not a port (1 to 65535)"))),
    }
}

/// A port's number on the wire.
pub(super) fn port_number(port: Option<NonZeroU16>) -> u32 {
    port.map_or(0, |port| u32::from(port.get()))
}

/// An IP address.
pub(super) fn ip(field: &str, text: &str) -> Result<IpAddr, Flaw> {
    parsed(field, text, "an IP address")
}

/// A value from its text; `what` says what it should be.
pub(super) fn parsed<T: FromStr>(field: &str, text: &str, what: &str) -> Result<T, Flaw> {
    text.parse().map_err(|_| Flaw::new(field, format!("{text:?} is not {what}")))
}

/// A text; `None` for an empty one.
pub(super) fn text<T: From<String>>(text: String) -> Option<T> {
    (!text.is_empty()).then(|| text.into())
}

/// A text that must not be empty.
pub(super) fn full<T: From<String>>(field: &str, value: String) -> Result<T, Flaw> {
    text(value).ok_or_else(|| Flaw::new(field, "is empty"))
}

/// A duration from milliseconds; `None` for 0.
pub(super) fn duration(ms: u64) -> Option<Duration> {
    (ms != 0).then(|| Duration::from_millis(ms))
}

/// A duration's milliseconds on the wire.
pub(super) fn ms(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |one| u64::try_from(one.as_millis()).unwrap_or(u64::MAX))
}

/// A number on the wire; 0 for none.
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
