//! The steps from what a proxy has to what it should have ([`plan`]), in an order that is safe at every moment: clusters
//! and endpoints, rules of the proxy's own lists, listeners with their rules, then removals in the opposite order. A new
//! rule and its new clusters are one request where that is safe.

mod clusters;
mod listeners;
mod removal;

use std::collections::BTreeSet;

use portreeve_xds::Name;

use crate::action::{Action, RuleRef};
use crate::actual::Actual;
use crate::desired::Desired;
use crate::names::{self, Key, Kind};
use crate::wanted::{Rule, Wanted};

/// One request, and the resource that it is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// The resource.
    pub(crate) owner: Key,
    /// The change.
    pub(crate) action: Action,
}

/// What is known about a proxy's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    /// Whether listeners and clusters are deleted with their sessions by the proxy. It is needed where the sessions can't
    /// be read, and only possible where it doesn't end the proxy.
    pub(crate) recursive: bool,
    /// Connected listeners without a session: they receive nothing until they are made again.
    pub(crate) deaf: BTreeSet<String>,
}

/// What a plan is made from.
#[derive(Clone, Copy)]
pub(crate) struct Picture<'a> {
    /// The desired resources.
    pub(crate) desired: &'a Desired,
    /// Their objects.
    pub(crate) wanted: &'a Wanted,
    /// What the proxy has.
    pub(crate) actual: &'a Actual,
    /// What is known of its sessions.
    pub(crate) sessions: &'a Sessions,
    /// The resources that get each of their objects by a request of its own, because the proxy refused one with others
    /// inside.
    pub(crate) apart: &'a BTreeSet<Key>,
}

/// Collects steps, and keeps track of what the proxy has after them.
struct Planner<'a> {
    keys: &'a BTreeSet<Key>,
    desired: &'a Desired,
    wanted: &'a Wanted,
    whole: &'a Actual,
    sessions: &'a Sessions,
    apart: &'a BTreeSet<Key>,
    /// The routes of the part of the proxy's objects that concerns the resources.
    routes: BTreeSet<String>,
    /// What that part is after the steps so far.
    after: Actual,
    steps: Vec<Step>,
    /// Listeners whose lists must be read before more can be planned.
    unread: BTreeSet<String>,
}

/// Returns the steps for resources. If the last is [`Action::ReadList`], there is more to plan after it.
pub(crate) fn plan(keys: &BTreeSet<Key>, picture: Picture<'_>) -> Vec<Step> {
    let Picture { desired, wanted, actual: whole, sessions, apart } = picture;
    let slot = |key: &Key| wanted.listeners.get(&key.name)?.as_ref().ok()?.slot.as_ref();
    let slots: Vec<_> = keys.iter().filter(|key| key.kind == Kind::Listener).filter_map(slot).collect();
    let leads = keys.iter().flat_map(|key| wanted.leads(key));
    let made = |name| Some(&wanted.clusters.get(name)?.as_ref().ok()?.name);
    let clusters: Vec<&String> = leads.filter_map(made).collect();
    let after = whole.part(keys, &slots, &clusters);
    let routes = after.routes.keys().cloned().collect();
    let (steps, unread) = (Vec::new(), BTreeSet::new());
    let mut planner = Planner { keys, desired, wanted, whole, sessions, apart, routes, after, steps, unread };
    planner.update_endpoints();
    planner.insert_rules();
    planner.listeners();
    planner.add_clusters();
    planner.remove();
    for listener in std::mem::take(&mut planner.unread) {
        let resource = names::resource(&listener).unwrap_or_default();
        planner.push(Key::new(Kind::Listener, resource), Action::ReadList { listener });
    }
    planner.steps
}

// === impl Planner ===

impl<'a> Planner<'a> {
    /// Returns the resources of a kind.
    fn of(&self, kind: Kind) -> impl Iterator<Item = &'a Name> + use<'a> {
        self.keys.iter().filter(move |key| key.kind == kind).map(|key| &key.name)
    }

    fn push(&mut self, owner: Key, action: Action) {
        self.after.apply(&action);
        self.steps.push(Step { owner, action });
    }

    /// Returns a rule for a request, with what the proxy already has of it. Clusters that the proxy lacks go inside of the
    /// rule's route, or are added first.
    fn reference(&mut self, owner: &Key, rule: &Rule) -> RuleRef {
        let rule_exists = self.after.rules.contains_key(&rule.name);
        let route_exists = self.after.routes.contains_key(&rule.name);
        let apart = rule_exists || route_exists || self.apart.contains(owner);
        let mut inside = Vec::new();
        for resource in self.wanted.leads(owner) {
            let Some(Ok(made)) = self.wanted.clusters.get(resource) else { continue };
            let uses = rule.clusters.iter().filter(|name| **name == made.name).count();
            if uses == 0 || self.after.clusters.contains_key(&made.name) {
                continue;
            }
            match made.inside(resource).filter(|_| uses == 1 && !apart) {
                Some(one) => {
                    self.after.clusters.insert(one.name.clone(), one.endpoints.clone());
                    inside.push(one);
                }
                None => self.add_cluster(resource, made),
            }
        }
        RuleRef { rule: rule.clone(), rule_exists, route_exists, inside }
    }

    /// Adds what is missing of a rule that a list names already.
    fn mend(&mut self, owner: &Key, rule: &Rule) {
        let reference = self.reference(owner, rule);
        if !reference.rule_exists {
            self.push(owner.clone(), Action::AddRule { rule: reference });
        } else if !reference.route_exists && !rule.clusters.is_empty() {
            self.push(owner.clone(), Action::AddRoute { rule: reference });
        }
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
