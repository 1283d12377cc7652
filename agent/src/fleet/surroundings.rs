//! What a fleet shares with the rest of the node while it is brought up to date: [`Surroundings`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::model::Plan;
use portreeve_xds::{Name, Version};

use crate::claims::{Claims, strangers};
use crate::translate::{Defaults, Lookup};

/// The node around its proxies.
pub struct Surroundings<'a> {
    /// The hub's Plans.
    pub plans: &'a BTreeMap<Name, Arc<Plan>>,
    /// The versions of these Plans.
    pub versions: &'a BTreeMap<Name, Version>,
    /// Resources of the hub whose last version makes no sense, with the reasons.
    pub refused: &'a BTreeMap<(PlanType, Name), String>,
    /// The hub itself has said which Plans there are.
    pub heard: bool,
    /// What the Plans' endpoint sources stand for.
    pub lookup: &'a dyn Lookup,
    /// Who has which port.
    pub claims: &'a Claims,
    /// Who else has ports.
    pub strangers: &'a mut strangers::Known,
    /// What is stated where a Plan says nothing.
    pub defaults: Defaults,
    /// Takes the faults that are new.
    pub news: &'a mut Vec<Fault>,
    /// Takes the Plans that may stand differently.
    pub touched: &'a mut BTreeSet<Name>,
}

/// A listener that a proxy can't have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The proxy, as people know it.
    pub proxy: String,
    /// The listener's qualified name.
    pub listener: Name,
    /// What, why, and what to do.
    pub text: String,
}
