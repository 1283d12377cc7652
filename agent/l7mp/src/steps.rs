//! The steps from what a proxy has to what it should have ([`plan`]), in an order that is safe at every moment: clusters
//! and endpoints, rules of the proxy's own lists, listeners with their rules, then removals in the opposite order.

mod clusters;
mod listeners;
mod removal;

use std::collections::BTreeSet;

use crate::action::{Action, RuleRef};
use crate::actual::Actual;
use crate::desired::Desired;
use crate::names::{Key, Kind};
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

/// Collects steps, and keeps track of what the proxy has after them.
struct Planner<'a> {
    desired: &'a Desired,
    wanted: &'a Wanted,
    sessions: &'a Sessions,
    /// What the proxy has after the steps so far.
    after: Actual,
    steps: Vec<Step>,
    /// Whether a listener's list must be read before more can be planned.
    unread: bool,
}

/// Returns the steps. If the last is [`Action::ReadLists`], there is more to plan after it.
pub(crate) fn plan(desired: &Desired, wanted: &Wanted, actual: &Actual, sessions: &Sessions) -> Vec<Step> {
    let (after, steps) = (actual.clone(), Vec::new());
    let mut planner = Planner { desired, wanted, sessions, after, steps, unread: false };
    planner.add_clusters();
    planner.insert_rules();
    planner.listeners();
    planner.remove();
    if planner.unread {
        planner.push(Key::new(Kind::Listener, ""), Action::ReadLists);
    }
    planner.steps
}

// === impl Planner ===

impl Planner<'_> {
    fn push(&mut self, owner: Key, action: Action) {
        self.after.apply(&action);
        self.steps.push(Step { owner, action });
    }

    /// Returns a rule for a request, with what the proxy already has of it.
    fn reference(&self, rule: &Rule) -> RuleRef {
        RuleRef {
            rule: rule.clone(),
            rule_exists: self.after.rules.contains_key(&rule.name),
            route_exists: self.after.routes.contains_key(&rule.name),
        }
    }

    /// Adds what is missing of a rule that a list names already.
    fn mend(&mut self, owner: &Key, rule: &Rule) {
        let reference = self.reference(rule);
        if !reference.rule_exists {
            self.push(owner.clone(), Action::AddRule { rule: reference });
        } else if !reference.route_exists && !rule.clusters.is_empty() {
            self.push(owner.clone(), Action::AddRoute { rule: reference });
        }
    }
}

#[cfg(test)]
mod tests;
