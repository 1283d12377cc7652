//! How far each Plan is on each node ([`Statuses`]): the latest word of each node's agent, and which Plans have news.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use portreeve_api::report::PlanStatus;
use portreeve_api::report_bounds;

use crate::index::Name;

/// The latest word on every Plan.
#[derive(Default)]
pub struct Statuses {
    plans: HashMap<Name, BTreeMap<Name, Arc<PlanStatus>>>,
    of_node: HashMap<Name, BTreeSet<Name>>,
    /// With the time of the newest news.
    changed: BTreeMap<Name, Instant>,
}

// === impl Statuses ===

impl Statuses {
    /// Takes in what a node says of its Plans; `all`: it names every Plan that it has a word on.
    ///
    /// # Errors
    /// In words: these are too many. Nothing was taken in.
    pub fn take(
        &mut self,
        node: &Name,
        (plans, gone): (Vec<PlanStatus>, &[String]),
        all: bool,
        now: Instant,
    ) -> Result<(), String> {
        let known = self.of_node.get(node);
        let news =
            plans.iter().filter(|s| known.is_none_or(|known| !known.contains(s.plan.as_str()))).count();
        let kept = if all { 0 } else { known.map_or(0, BTreeSet::len).saturating_sub(gone.len()) };
        if kept + news > report_bounds::PLANS {
            let (count, most) = (kept + news, report_bounds::PLANS);
            return Err(format!("plans: node {node} has {count} of them, {most} are allowed"));
        }
        if all {
            let named: BTreeSet<&str> = plans.iter().map(|status| status.plan.as_str()).collect();
            let old = known.into_iter().flatten().filter(|plan| !named.contains(&***plan));
            let old: Vec<Name> = old.cloned().collect();
            old.iter().for_each(|plan| self.drop(node, plan, now));
        }
        gone.iter().for_each(|plan| self.drop(node, plan, now));
        plans.into_iter().for_each(|status| self.put(node, status, now));
        Ok(())
    }

    /// Every node's latest word on every Plan.
    pub fn all(&self) -> impl Iterator<Item = &PlanStatus> {
        self.plans.values().flat_map(BTreeMap::values).map(|status| &**status)
    }

    /// The latest word of each node on a Plan.
    pub fn of(&self, plan: &str) -> impl Iterator<Item = (&Name, &Arc<PlanStatus>)> {
        self.plans.get(plan).into_iter().flatten()
    }

    /// A node fell silent or was heard again: that is news of all its Plans.
    pub fn touch(&mut self, node: &Name, now: Instant) {
        let plans = self.of_node.get(node).into_iter().flatten();
        self.changed.extend(plans.map(|plan| (plan.clone(), now)));
    }

    /// A node is gone, with all that it said.
    pub fn forget(&mut self, node: &Name, now: Instant) {
        for plan in self.of_node.remove(node).into_iter().flatten() {
            self.remove(node, &plan, now);
        }
    }

    /// The Plans with news since the last call, with the time of the newest of each.
    pub fn take_changed(&mut self) -> BTreeMap<Name, Instant> {
        std::mem::take(&mut self.changed)
    }

    /// Whether any Plan has news.
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
        of_plan.insert(node.clone(), Arc::new(status));
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
