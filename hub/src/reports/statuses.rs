//! The status of each Plan on each node ([`Statuses`]): the last report of each node's agent, and which Plans changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use portreeve_api::refs::ProxyId;
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
    sums: Sums,
}

/// The numbers of all statuses together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Number of proxies that should have a Plan. A proxy counts once for each of its Plans.
    pub wanted: u64,
    /// Of these, the number that acknowledged it.
    pub acked: u64,
    /// Of these, the number that rejected a resource of it.
    pub refused: u64,
    /// Of these, the number without a stream.
    pub unreachable: u64,
    /// Number of listeners that lost their port.
    pub conflicts: u64,
    /// Number of running NodeProxies, once for each node.
    pub running: u64,
    /// Number of NodeProxies that should run and can't, once for each node.
    pub failing: u64,
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

    /// Returns the numbers of all statuses together.
    pub fn sums(&self) -> Sums {
        self.sums
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

    /// Returns when a Plan last changed, if [`Statuses::take_changed`] has not returned it since. It won't return this change.
    pub fn take_change(&mut self, plan: &str) -> Option<Instant> {
        self.changed.remove(plan)
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
        let status = shared(of_plan, node, status);
        self.sums.add(&Sums::of(&status));
        if let Some(old) = of_plan.insert(node.clone(), status) {
            self.sums.subtract(&Sums::of(&old));
        }
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
            if let Some(old) = of_plan.remove(node) {
                self.sums.subtract(&Sums::of(&old));
            }
            if of_plan.is_empty() {
                self.plans.remove(plan);
            }
        }
        self.changed.insert(plan.clone(), now);
    }
}

// === impl Sums ===

impl Sums {
    fn of(status: &PlanStatus) -> Self {
        if matches!(status.plan.parse(), Ok(ProxyId::Node(_))) {
            let (running, failing) = (status.acked.into(), status.nacked.into());
            return Self { running, failing, ..Self::default() };
        }
        Self {
            wanted: status.wanted.into(),
            acked: status.acked.into(),
            refused: status.nacked.into(),
            unreachable: status.unreachable.into(),
            conflicts: status.conflicts.len() as u64,
            ..Self::default()
        }
    }

    fn add(&mut self, other: &Self) {
        self.each(other, |sum, part| *sum += part);
    }

    fn subtract(&mut self, other: &Self) {
        self.each(other, |sum, part| *sum -= part);
    }

    fn each(&mut self, other: &Self, change: impl Fn(&mut u64, u64)) {
        for (sum, part) in [
            (&mut self.wanted, other.wanted),
            (&mut self.acked, other.acked),
            (&mut self.refused, other.refused),
            (&mut self.unreachable, other.unreachable),
            (&mut self.conflicts, other.conflicts),
            (&mut self.running, other.running),
            (&mut self.failing, other.failing),
        ] {
            change(sum, part);
        }
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

    fn mk_status(plan: &str, number: u32) -> PlanStatus {
        let conflicts = (0..number % 3).map(|port| port.to_string()).collect();
        let (wanted, acked, nacked) = (number, number / 2, number / 3);
        PlanStatus { plan: plan.into(), wanted, acked, nacked, conflicts, ..PlanStatus::default() }
    }

    #[test]
    fn sums_are_those_of_the_present_statuses() {
        let (mut statuses, now) = (Statuses::default(), Instant::now());
        let plans = ["A/ns/a", "A/ns/b", "nodeproxy/gw"];
        for step in 0..500_u32 {
            let (node, plan) = (Name::from(format!("n{}", step * 7 % 5)), plans[(step % 3) as usize]);
            match step % 11 {
                0 => statuses.drop(&node, plan, now),
                1 => statuses.forget(&node, now),
                2 => statuses.keep(&node, &BTreeSet::from([plan.to_owned()]), now),
                _ => statuses.put(&node, mk_status(plan, step % 13), now),
            }
            let mut expected = Sums::default();
            let present = statuses.plans.values().flat_map(BTreeMap::values);
            present.for_each(|status| expected.add(&Sums::of(status)));
            assert_eq!(statuses.sums(), expected, "step {step}");
        }
        assert!(statuses.sums().running > 0 && statuses.sums().conflicts > 0);
    }

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
