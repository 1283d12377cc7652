//! Conditions in Gateway API style: their types, their reasons, and how one is set in a list. The entry point is [`set`].

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Characters of a condition's message at most; longer ones are cut.
pub const MAX_MESSAGE: usize = 2048;

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The object is valid and takes part.
    Accepted,
    /// Everything that the object refers to was found and may be used.
    ResolvedRefs,
    /// Every wanted proxy runs the object's present meaning.
    Programmed,
    /// Endpoints are healthy.
    Healthy,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It holds.
    True,
    /// It doesn't.
    False,
    /// It can't be told yet.
    Unknown,
}

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Why a condition has its status: a programmatic identifier, stable between versions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The identifier as it stands in `reason`.
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
    /// The object is valid but asks for something that its proxies can't express.
    Unsupported,
    /// An older object has the port already.
    PortConflict,
    /// Everything that is referred to was found.
    ResolvedRefs,
    /// The selector matches nothing in the object's namespace, but something elsewhere.
    OutsideNamespace,
    /// The object's namespace is not among those that the proxy allows.
    NamespaceNotAllowed,
    /// An object that is referred to doesn't exist.
    RefNotFound,
    /// A DNS name has no address.
    NameNotResolved,
    /// No endpoint was found.
    NoEndpoints,
    /// A health check is asked for, but the endpoint names no port for it; the endpoint counts as healthy.
    NoHealthPort,
    /// The health check's interval is shorter than recommended.
    ShortInterval,
    /// A name holds characters that proxies' names can't hold; they know it in an escaped form.
    EscapedName,
    /// No proxy is there to run the object.
    NoProxy,
    /// Proxies have yet to confirm.
    Pending,
    /// Every wanted proxy confirmed.
    Programmed,
    /// A proxy refused the configuration.
    Nacked,
    /// A proxy or its agent can't be reached.
    Unreachable,
    /// A NodeProxy's selector matches no node.
    NoNode,
    /// A proxy does not run on a node that is to have it.
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

/// What a condition says, without the time of its last transition: that is [`set`]'s to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it is about.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// Why, in words for a person; cut to [`MAX_MESSAGE`] characters.
    pub message: String,
    /// The object's `metadata.generation` that was judged.
    pub generation: Option<i64>,
}

/// Sets one condition in `conditions`, replacing the one of its type or adding it at the end, and returns whether anything
/// differs. `lastTransitionTime` becomes `now` (whole seconds) only when the status changes.
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

/// The condition of this type, if it is there.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

// === impl ConditionType ===

impl ConditionType {
    /// The name as it stands in `type`.
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
    /// The word as it stands in `status`.
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
        // The API keeps whole seconds; anything finer would differ from what is read back.
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
