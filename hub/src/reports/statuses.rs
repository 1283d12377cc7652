//! The status of each Plan on each node ([`Statuses`]): the last report of each node's agent, and which Plans changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use portreeve_api::report::PlanStatus;
use portreeve_api::report_bounds;

use crate::index::Name;

/// The last reported statuses of all Plans.
#[derive(Default)]
pub struct Statuses {
    plans: HashMap<Name, BTreeMap<Name, Arc<PlanStatus>>>,
    of_node: HashMap<Name, BTreeSet<Name>>,
    /// Changed Plans, with the time of the latest change.
    changed: BTreeMap<Name, Instant>,
}

/// The part of a report about Plans.
pub struct PlanStatuses {
    /// Plans whose status changed.
    pub plans: Vec<PlanStatus>,
    /// Plans that are gone.
    pub gone: Vec<String>,
    /// Whether the next report continues this one.
    pub more: bool,
}

// === impl Statuses ===

impl Statuses {
    /// Applies the Plan statuses of a node's report. `naming` collects the Plans that the stream's first reports list,
    /// until a report without `more`; then every other Plan of the node is removed.
    ///
    /// # Errors
    /// Returns a message if there are too many Plans. Nothing is applied.
    pub fn take(
        &mut self,
        node: &Name,
        report: PlanStatuses,
        naming: &mut Option<BTreeSet<String>>,
        now: Instant,
    ) -> Result<(), String> {
        let count = match &naming {
            Some(named) => report.plans.iter().filter(|s| !named.contains(&s.plan)).count() + named.len(),
            None => self.count_with(node, &report),
        };
        if count > report_bounds::NODE_PLANS {
            let most = report_bounds::NODE_PLANS;
            return Err(format!("plans: node {node} has {count} Plans, {most} are allowed"));
        }
        report.gone.iter().for_each(|plan| self.drop(node, plan, now));
        if let Some(named) = naming {
            named.extend(report.plans.iter().map(|status| status.plan.clone()));
        }
        report.plans.into_iter().for_each(|status| self.put(node, status, now));
        if let Some(named) = naming.take_if(|_| !report.more) {
            self.keep(node, &named, now);
        }
        Ok(())
    }

    /// Returns how many Plans a node would have after this report.
    fn count_with(&self, node: &Name, report: &PlanStatuses) -> usize {
        let none = BTreeSet::new();
        let known = self.of_node.get(node).unwrap_or(&none);
        let named: BTreeSet<&str> = report.plans.iter().map(|status| status.plan.as_str()).collect();
        let gone: BTreeSet<&str> = report.gone.iter().map(String::as_str).collect();
        let leaves = gone.iter().filter(|plan| known.contains(**plan) && !named.contains(*plan)).count();
        let comes = named.iter().filter(|plan| !known.contains(**plan)).count();
        known.len() - leaves + comes
    }

    /// Removes all statuses of a node except those of these Plans.
    fn keep(&mut self, node: &Name, named: &BTreeSet<String>, now: Instant) {
        let known = self.of_node.get(node).into_iter().flatten();
        let old: Vec<Name> = known.filter(|plan| !named.contains(&***plan)).cloned().collect();
        old.iter().for_each(|plan| self.drop(node, plan, now));
    }

    /// Returns every node's status of every Plan.
    pub fn all(&self) -> impl Iterator<Item = &PlanStatus> {
        self.plans.values().flat_map(BTreeMap::values).map(|status| &**status)
    }

    /// Returns every node's status of one Plan.
    pub fn of(&self, plan: &str) -> impl Iterator<Item = (&Name, &Arc<PlanStatus>)> {
        self.plans.get(plan).into_iter().flatten()
    }

    /// Marks all Plans of a node as changed, because the node became silent or reports again.
    pub fn touch(&mut self, node: &Name, now: Instant) {
        let plans = self.of_node.get(node).into_iter().flatten();
        self.changed.extend(plans.map(|plan| (plan.clone(), now)));
    }

    /// Removes a node and all its statuses.
    pub fn forget(&mut self, node: &Name, now: Instant) {
        for plan in self.of_node.remove(node).into_iter().flatten() {
            self.remove(node, &plan, now);
        }
    }

    /// Returns the Plans that changed since the last call, with the time of each one's latest change.
    pub fn take_changed(&mut self) -> BTreeMap<Name, Instant> {
        std::mem::take(&mut self.changed)
    }

    /// Returns whether any Plan changed since the last call.
    pub fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    fn put(&mut self, node: &Name, status: PlanStatus, now: Instant) {
        let plan = match self.plans.get_key_value(status.plan.as_str()) {
            Some((plan, _)) => plan.clone(),
            None => Name::from(status.plan.as_str()),
        };
        let of_plan = self.plans.entry(plan.clone()).or_default();
        if of_plan.get(node).is_some_and(|old| **old == status) {
            return;
        }
        of_plan.insert(node.clone(), shared(of_plan, node, status));
        self.of_node.entry(node.clone()).or_default().insert(plan.clone());
        self.changed.insert(plan, now);
    }

    fn drop(&mut self, node: &Name, plan: &str, now: Instant) {
        let Some(plans) = self.of_node.get_mut(node) else { return };
        let Some(plan) = plans.take(plan) else { return };
        if plans.is_empty() {
            self.of_node.remove(node);
        }
        self.remove(node, &plan, now);
    }

    fn remove(&mut self, node: &Name, plan: &Name, now: Instant) {
        if let Some(of_plan) = self.plans.get_mut(plan) {
            of_plan.remove(node);
            if of_plan.is_empty() {
                self.plans.remove(plan);
            }
        }
        self.changed.insert(plan.clone(), now);
    }
}

/// Returns a status, in the allocation of a neighbour's status if they are equal. Most nodes report the same of a Plan.
fn shared(of_plan: &BTreeMap<Name, Arc<PlanStatus>>, node: &Name, status: PlanStatus) -> Arc<PlanStatus> {
    let after = (Bound::Excluded(node.clone()), Bound::Unbounded);
    let (before, after) = (of_plan.range(..node.clone()).next_back(), of_plan.range(after).next());
    let mut near = before.into_iter().chain(after).map(|(_, near)| near);
    near.find(|near| ***near == status).cloned().unwrap_or_else(|| Arc::new(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_report_the_same_share_one_status() {
        let mut statuses = Statuses::default();
        let mut report = |node: &str, acked| {
            let status = PlanStatus { plan: "p".into(), wanted: 1, acked, ..PlanStatus::default() };
            statuses.put(&node.into(), status, Instant::now());
            let all: Vec<_> = statuses.of("p").map(|(_, status)| status.clone()).collect();
            let distinct: BTreeSet<_> = all.iter().map(Arc::as_ptr).collect();
            (all.len(), distinct.len())
        };
        for (node, acked, expected) in [
            ("b", 1, (1, 1)),
            ("a", 1, (2, 1)),
            ("c", 1, (3, 1)),
            ("b", 0, (3, 2)),
            ("d", 1, (4, 2)),
            ("b", 1, (4, 1)),
        ] {
            assert_eq!(report(node, acked), expected, "{node} {acked}");
        }
    }
}
