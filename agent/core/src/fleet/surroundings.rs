//! The node's state that a fleet reads and updates during a refresh: [`Surroundings`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::model::Plan;
use portreeve_xds::{Name, Version};

use crate::claims::{Claims, strangers};
use crate::translate::{Defaults, Lookup};

/// The node's state during a refresh.
pub struct Surroundings<'a> {
    /// The Plans that the hub sent.
    pub plans: &'a BTreeMap<Name, Arc<Plan>>,
    /// The versions of these Plans.
    pub versions: &'a BTreeMap<Name, Version>,
    /// Resources of the hub whose newest version is invalid, with the reasons.
    pub refused: &'a BTreeMap<(PlanType, Name), String>,
    /// Plans by the cluster of another Plan that their rules lead to.
    pub routers: &'a HashMap<Name, BTreeSet<Name>>,
    /// Whether the hub itself, not only the store, has sent the list of Plans.
    pub heard: bool,
    /// Resolves the Plans' endpoint sources.
    pub lookup: &'a dyn Lookup,
    /// The port claims of all proxies.
    pub claims: &'a Claims,
    /// The ports that other processes hold.
    pub strangers: &'a mut strangers::Known,
    /// Values for fields that a Plan leaves unset.
    pub defaults: Defaults,
    /// Collects new faults.
    pub news: &'a mut Vec<Fault>,
    /// Collects the Plans whose status may have changed.
    pub touched: &'a mut BTreeSet<Name>,
}

/// A listener that can't be served on a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The proxy's name for messages.
    pub proxy: String,
    /// The listener's qualified name.
    pub listener: Name,
    /// The problem, its cause, and the remedy.
    pub text: String,
}
