//! What changed for a node since its changes were last taken ([`Pending`]), and how that becomes transactions ([`Taking`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_runtime::Heart;
use portreeve_xds::{Changes, Resource};

use super::classes::ClassId;
use super::groups::Groups;
use super::matches::Name;

/// A resource's type and name.
pub type Key = (PlanType, Name);

/// Resources that changed. `None` stands for a removal.
type Changed = BTreeMap<Key, Option<Arc<Resource>>>;

/// One node's changes.
#[derive(Default)]
pub struct Pending {
    /// Changes of the resources without references.
    pub own: Changed,
    /// Changes of all others, in order. Nodes of a class share them.
    pub steps: Vec<Arc<Step>>,
}

/// A change that is the same for several nodes.
#[derive(Default)]
pub struct Step {
    /// Groups that the nodes no longer use.
    pub left: Vec<Name>,
    /// Groups that are new to the nodes. Their resources are looked up when the changes are taken.
    pub came: Vec<Name>,
    /// Other resources, and the removal of those of the groups that were left. `None` stands for a removal.
    pub single: Vec<(Key, Option<Arc<Resource>>)>,
}

/// A node's changes since they were last taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The node's class now. `None`: it has no Plan.
    pub class: Option<ClassId>,
    /// The changes of what all nodes of a class are sent: the same transaction for all that were in one class all the time.
    /// It has the Health of the node itself too, which the node doesn't need.
    pub shared: Arc<Changes<PlanType>>,
    /// The changes of the node's own resources.
    pub own: Changes<PlanType>,
}

/// The changes that are being taken. What several nodes share is computed once.
pub struct Taking<'t> {
    groups: &'t Groups,
    heart: &'t Heart,
    /// The transactions of lists of steps. The steps stay alive here, so that their addresses stay theirs.
    shared: HashMap<Vec<*const Step>, Folded>,
    /// The number of entries visited, for the tests of cost.
    pub visited: u64,
}

/// Steps, and their transaction.
type Folded = (Vec<Arc<Step>>, Arc<Changes<PlanType>>);

// === impl Step ===

impl Step {
    /// A change of these resources.
    pub fn of(single: Vec<(Key, Option<Arc<Resource>>)>) -> Arc<Self> {
        Arc::new(Self { single, ..Self::default() })
    }
}

// === impl Taken ===

impl Taken {
    /// Returns whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }
}

// === impl Taking ===

impl<'t> Taking<'t> {
    /// Begins to take changes.
    pub fn new(groups: &'t Groups, heart: &'t Heart) -> Self {
        Self { groups, heart, shared: HashMap::new(), visited: 0 }
    }

    /// Turns the changes of a node of this class into transactions.
    pub fn changes(&mut self, class: Option<ClassId>, pending: Pending) -> Taken {
        self.heart.beat();
        let mut own = Changes::default();
        add(&mut own, pending.own);
        Taken { class, shared: self.shared(pending.steps), own }
    }

    fn shared(&mut self, steps: Vec<Arc<Step>>) -> Arc<Changes<PlanType>> {
        let addresses: Vec<*const Step> = steps.iter().map(Arc::as_ptr).collect();
        if let Some((_, known)) = self.shared.get(&addresses) {
            return known.clone();
        }
        let shared = Arc::new(self.fold(&steps));
        self.shared.insert(addresses, (steps, shared.clone()));
        shared
    }

    /// Merges steps: what came and stayed has the resources of now.
    fn fold(&mut self, steps: &[Arc<Step>]) -> Changes<PlanType> {
        let (mut used, mut changed) = (BTreeSet::new(), Changed::new());
        for step in steps {
            for group in &step.left {
                used.remove(group);
            }
            used.extend(&step.came);
            changed.extend(step.single.iter().cloned());
        }
        let mut places = HashSet::new();
        for group in used {
            self.heart.beat();
            let resources = self.groups.resources(group).into_iter();
            changed.extend(resources.map(|(ty, one)| ((ty, one.name().clone()), Some(one))));
            places.extend(self.groups.nodes_of(group).inspect(|_| self.visited += 1));
        }
        let health = places.into_iter().filter_map(|place| Some((place, self.groups.places.health(place)?)));
        changed.extend(health.map(|(at, health)| ((PlanType::Health, at.clone()), Some(health.clone()))));
        let mut shared = Changes::default();
        add(&mut shared, changed);
        shared
    }
}

fn add(changes: &mut Changes<PlanType>, changed: Changed) {
    for ((ty, name), resource) in changed {
        match resource {
            Some(resource) => changes.upsert.push((ty, resource)),
            None => changes.remove.push((ty, name)),
        }
    }
}
