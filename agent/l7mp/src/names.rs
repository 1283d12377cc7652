//! Names of the driver's objects on a proxy, and the keys of the resources they belong to ([`Key`]).
//!
//! A name carries its resource and a hash of the object's content: `portreeve/RESOURCE@HASH` for clusters and listeners,
//! `portreeve/RESOURCE/INDEX@HASH` for rules and their routes, `CLUSTER/ADDRESS` for endpoints. An object is never
//! changed, only replaced under a new name. Objects whose names lack the prefix belong to somebody else.

use portreeve_xds::Name;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

/// The start of each name that the driver gives.
pub const PREFIX: &str = "portreeve/";

/// The end of the name of a listener whose sessions end with it.
const ENDS: &str = "-ends";

/// A kind of resource, in the order in which they are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A cluster without its endpoints.
    Cluster,
    /// A cluster's endpoints.
    Endpoints,
    /// A rule for a rule list of the proxy's own configuration.
    Rule,
    /// A listener with its rules.
    Listener,
}

/// A resource's kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: Name,
}

// === impl Key ===

impl Key {
    /// Returns the key of a resource.
    pub fn new(kind: Kind, name: impl Into<Name>) -> Self {
        Self { kind, name: name.into() }
    }
}

/// Returns the name of a cluster or listener with this content.
pub(crate) fn object(resource: &str, content: &impl Serialize) -> String {
    format!("{PREFIX}{resource}@{:016x}", hash(content))
}

/// Returns the name of a listener. The name tells whether its sessions end with it, because that must be known when the
/// resource is gone.
pub(crate) fn listener(resource: &str, content: &impl Serialize, ends_sessions: bool) -> String {
    let mut name = object(resource, content);
    if ends_sessions {
        name.push_str(ENDS);
    }
    name
}

/// Returns the name of the rule at this position, and of its route.
pub(crate) fn rule(resource: &str, position: usize, content: &impl Serialize) -> String {
    format!("{PREFIX}{resource}/{position}@{:016x}", hash(content))
}

/// Returns the name of a cluster's endpoint.
pub(crate) fn endpoint(cluster: &str, address: &str) -> String {
    format!("{cluster}/{address}")
}

/// Whether an object with this name belongs to the driver.
pub(crate) fn is_own(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Whether the sessions of the listener with this name end with it.
pub(crate) fn ends_sessions(listener: &str) -> bool {
    is_own(listener) && listener.ends_with(ENDS)
}

/// Returns the resource of a cluster's or listener's name; `None` if it isn't the driver's.
pub(crate) fn resource(name: &str) -> Option<&str> {
    Some(name.strip_prefix(PREFIX)?.rsplit_once('@')?.0)
}

/// Returns the resource and the position of a rule's name; `None` if it isn't the driver's.
pub(crate) fn rule_resource(name: &str) -> Option<(&str, usize)> {
    let (resource, position) = resource(name)?.rsplit_once('/')?;
    Some((resource, position.parse().ok()?))
}

/// Returns the hash of a value's JSON. Keys of JSON objects are sorted, so equal values have equal hashes.
fn hash(content: &impl Serialize) -> u64 {
    // A value that can't be written as JSON has no object either: its request fails with a text.
    xxh3_64(&serde_json::to_vec(content).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_tell_their_resource() {
        let name = object("B/Target/ns/x/cluster", &json!({"a": 1}));
        assert_eq!(resource(&name), Some("B/Target/ns/x/cluster"));
        assert_eq!(rule_resource(&rule("B/Rule/ns/x/rule-0", 7, &json!(1))), Some(("B/Rule/ns/x/rule-0", 7)));
        for foreign in ["x@1", "controller-listener", "portreeve/x"] {
            assert_eq!(resource(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn other_content_has_another_name_and_equal_content_the_same() {
        assert_ne!(object("r", &json!({"a": 1})), object("r", &json!({"a": 2})));
        assert_eq!(object("r", &json!({"a": 1, "b": 2})), object("r", &json!({"b": 2, "a": 1})));
    }

    #[test]
    fn listener_whose_sessions_end_is_known_by_its_name() {
        assert!(ends_sessions(&listener("r", &1, true)));
        assert!(!ends_sessions(&listener("r", &1, false)));
        assert_eq!(resource(&listener("a/b", &1, true)), Some("a/b"));
        assert!(!ends_sessions("theirs-ends"));
    }
}
