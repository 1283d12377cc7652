//! Conditions in Gateway API style: types, reasons, and setting a condition in a list. The entry point is [`set`].

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Maximum length of a condition's message, in characters. Longer messages are cut.
pub const MAX_MESSAGE: usize = 2048;

/// The aspect of the object that a condition describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The object is valid and in use.
    Accepted,
    /// Every object that this one refers to was found and may be used.
    ResolvedRefs,
    /// Every wanted proxy runs the object's current configuration.
    Programmed,
    /// Endpoints are healthy.
    Healthy,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It holds.
    True,
    /// It doesn't hold.
    False,
    /// It isn't known yet.
    Unknown,
}

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The reason for a condition's status: a programmatic identifier, stable between versions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The identifier as written in the field `reason`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// The object is valid.
    Accepted,
    /// The object breaks a rule of its kind.
    Invalid,
    /// The object is valid but asks for something that no proxy of Portreeve can express.
    Unsupported,
    /// The object is valid but asks for something that the named proxy can't express. That part is not opened there.
    UnsupportedByProxy,
    /// The object has a field that its kind doesn't know. It has no effect.
    UnknownField,
    /// An older object already has the port.
    PortConflict,
    /// Every reference was found.
    ResolvedRefs,
    /// The selector matches pods in other namespaces, but none in the object's own.
    OutsideNamespace,
    /// The proxy doesn't allow objects of this namespace.
    NamespaceNotAllowed,
    /// A referenced object doesn't exist.
    RefNotFound,
    /// Another Kubernetes cluster whose pods are endpoints or allowed sources can't be read.
    SourceLost,
    /// A DNS name resolves to no address.
    NameNotResolved,
    /// No endpoint was found.
    NoEndpoints,
    /// A health check is configured, but the endpoint has no health check port; it counts as healthy.
    NoHealthPort,
    /// The health check's interval is shorter than recommended.
    ShortInterval,
    /// A name holds characters that are not allowed in a proxy's resource names; the proxy gets an escaped form.
    EscapedName,
    /// Every peer that reaches the port may connect.
    OpenToAll,
    /// TLS is configured in part only, without a certificate; connections are plain text.
    PlainText,
    /// An application that speaks first stays silent until its client has sent a byte.
    ClientSpeaksFirst,
    /// No proxy exists that could run the object.
    NoProxy,
    /// Some proxies haven't confirmed the configuration yet.
    Pending,
    /// Every wanted proxy confirmed the configuration.
    Programmed,
    /// A proxy rejected the configuration.
    Nacked,
    /// A proxy or its agent can't be reached.
    Unreachable,
    /// A NodeProxy's selector matches no node.
    NoNode,
    /// The proxy doesn't run on a node that should have it.
    NotRunning,
    /// Every endpoint is healthy.
    Healthy,
    /// Some endpoints are healthy.
    Degraded,
    /// No endpoint is healthy.
    Unhealthy,
    /// Endpoints aren't checked.
    Unchecked,
    /// The configuration is older than the staleness bound.
    Stale,
}

/// A condition without its `lastTransitionTime`, which [`set`] adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The aspect that is judged.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: Status,
    /// The reason, for programs.
    pub reason: Reason,
    /// The reason, for people; cut to [`MAX_MESSAGE`] characters.
    pub message: String,
    /// The object's `metadata.generation` that was judged.
    pub generation: Option<i64>,
}

/// Sets one condition: replaces the condition of the same type, or appends it. Returns whether anything changed.
/// `lastTransitionTime` becomes `now` (in whole seconds) only if the status changes.
pub fn set(conditions: &mut Vec<Condition>, new: Verdict, now: Timestamp) -> bool {
    let type_ = new.type_.as_str();
    let mut next = new.into_condition(now);
    let Some(present) = conditions.iter_mut().find(|condition| condition.type_ == type_) else {
        conditions.push(next);
        return true;
    };
    if present.status == next.status {
        next.last_transition_time = present.last_transition_time.clone();
    }
    let differs = *present != next;
    *present = next;
    differs
}

/// Returns the condition of this type, if the list has it.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

// === impl ConditionType ===

impl ConditionType {
    /// The name as written in the field `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Programmed => "Programmed",
            Self::Healthy => "Healthy",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Status ===

impl Status {
    /// The value as written in the field `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

// === impl Reason ===

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Verdict ===

impl Verdict {
    fn into_condition(self, now: Timestamp) -> Condition {
        // The API stores whole seconds; a finer time would differ from the one read back.
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Condition {
            type_: self.type_.as_str().to_owned(),
            status: self.status.as_str().to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: cut(self.message),
            observed_generation: self.generation,
            last_transition_time: Time(whole),
        }
    }
}

fn cut(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        None => message,
        Some(_) => message.chars().take(MAX_MESSAGE - 1).chain(['…']).collect(),
    }
}
