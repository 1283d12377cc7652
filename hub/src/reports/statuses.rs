//! How far each Plan is on each node ([`Statuses`]): the latest word of each node's agent, and which Plans have news.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::report::PlanStatus;
use portreeve_api::report_bounds;

use crate::index::Name;

/// The latest word on every Plan.
#[derive(Default)]
pub struct Statuses {
    plans: HashMap<Name, BTreeMap<Name, Arc<PlanStatus>>>,
    of_node: HashMap<Name, BTreeSet<Name>>,
    changed: BTreeSet<Name>,
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
        plans: Vec<PlanStatus>,
        gone: &[String],
        all: bool,
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
            old.iter().for_each(|plan| self.drop(node, plan));
        }
        gone.iter().for_each(|plan| self.drop(node, plan));
        plans.into_iter().for_each(|status| self.put(node, status));
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
    pub fn touch(&mut self, node: &Name) {
        self.changed.extend(self.of_node.get(node).into_iter().flatten().cloned());
    }

    /// A node is gone, with all that it said.
    pub fn forget(&mut self, node: &Name) {
        for plan in self.of_node.remove(node).into_iter().flatten() {
            self.remove(node, &plan);
        }
    }

    /// The Plans with news since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.changed)
    }

    /// Whether any Plan has news.
    pub fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    fn put(&mut self, node: &Name, status: PlanStatus) {
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
        self.changed.insert(plan);
    }

    fn drop(&mut self, node: &Name, plan: &str) {
        let Some(plans) = self.of_node.get_mut(node) else { return };
        let Some(plan) = plans.take(plan) else { return };
        if plans.is_empty() {
            self.of_node.remove(node);
        }
        self.remove(node, &plan);
    }

    fn remove(&mut self, node: &Name, plan: &Name) {
        if let Some(of_plan) = self.plans.get_mut(plan) {
            of_plan.remove(node);
            if of_plan.is_empty() {
                self.plans.remove(plan);
            }
        }
        self.changed.insert(plan.clone());
    }
}
