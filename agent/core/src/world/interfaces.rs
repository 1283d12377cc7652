//! The interfaces of this node that lead to its pods: [`Interfaces`]. They are read when a pod's proxy connects, and reported for
//! Plans of load balancers with pods of their own (C12).

use std::collections::BTreeMap;

use portreeve_xds::Name;

/// A network interface of this node whose other end is in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's index.
    pub index: u32,
    /// The name.
    pub name: String,
    /// The name of the bridge that it is a port of.
    pub bridge: Option<String>,
}

/// The interfaces by the uids of the pods that they lead to.
#[derive(Default)]
pub struct Interfaces(BTreeMap<Name, Vec<Interface>>);

// === impl Interfaces ===

impl Interfaces {
    /// Replaces the interfaces that lead to a pod. Returns whether they differ.
    pub fn set(&mut self, uid: &Name, interfaces: Vec<Interface>) -> bool {
        if self.0.get(uid) == Some(&interfaces) {
            return false;
        }
        self.0.insert(uid.clone(), interfaces);
        true
    }

    /// Forgets a pod.
    pub fn remove(&mut self, uid: &Name) {
        self.0.remove(uid);
    }

    /// Returns the interface that leads to a pod: the port of this bridge, or else the one with the lowest index.
    pub fn of(&self, uid: &Name, bridge: &str) -> Option<&Interface> {
        self.0.get(uid)?.iter().min_by_key(|one| (one.bridge.as_deref() != Some(bridge), one.index))
    }
}
