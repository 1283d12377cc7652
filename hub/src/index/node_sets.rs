//! The resources that each node is sent: its Plans, NodeProxies and Probes, the Groups and Secrets that they refer to
//! (counted by reference), and the Health of the nodes on which those groups have endpoints.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_runtime::Heart;
use portreeve_xds::{Changes, Resource};

use super::groups::Groups;
use super::matches::Name;
use super::secrets::Secrets;

/// A Plan, encoded once, with the names of the resources that a node needs along with it.
#[derive(Clone)]
pub struct Encoded {
    /// The encoded Plan under its name.
    pub resource: Arc<Resource>,
    /// The names of its Groups.
    pub groups: BTreeSet<Name>,
    /// The names of its Secret resources.
    pub secrets: BTreeSet<Name>,
}

/// One node's changes since they were last taken.
#[derive(Default)]
struct Pending {
    /// `None` stands for a removal.
    single: BTreeMap<Key, Option<Arc<Resource>>>,
    /// Groups that are new to the node. Their resources are looked up when the changes are taken, once for all nodes to
    /// which the same groups are new. A NodeProxy that is added to 5,000 nodes brings the same groups to all of them.
    groups: BTreeSet<Name>,
}

/// A resource's type and name.
type Key = (PlanType, Name);

/// The resources of some groups, and the Health of the nodes with their endpoints.
type Bundle = Arc<BTreeMap<Key, Arc<Resource>>>;

/// The resource sets of all nodes that have any resources.
#[derive(Default)]
pub struct NodeSets {
    sets: HashMap<Name, NodeSet>,
    /// Group → nodes that use it.
    users: HashMap<Name, BTreeSet<Name>>,
    secrets: Secrets,
    pending: BTreeMap<Name, Pending>,
    visited: u64,
    heart: Heart,
}

#[derive(Default)]
struct NodeSet {
    resources: BTreeMap<(PlanType, Name), Arc<Resource>>,
    groups: HashMap<Name, usize>,
}

// === impl NodeSets ===

impl NodeSets {
    /// Sends a Plan or its new content to a node. `old` is the version that the node had.
    pub fn put_plan(&mut self, node: &Name, plan: &Encoded, old: Option<&Encoded>, groups: &Groups) {
        for group in &plan.groups {
            self.hold(node, group);
        }
        for secret in &plan.secrets {
            if let Some(resource) = self.secrets.send(secret, node) {
                self.put(node, PlanType::Secret, resource);
            }
        }
        self.put(node, PlanType::Plan, plan.resource.clone());
        if let Some(old) = old {
            self.release(node, old, groups);
        }
    }

    /// Removes a Plan from a node, and the groups and Secrets that only this Plan needed.
    pub fn drop_plan(&mut self, node: &Name, plan: &Encoded, groups: &Groups) {
        self.take_away(node, PlanType::Plan, plan.resource.name().clone());
        self.release(node, plan, groups);
    }

    /// Records that a Plan names these Secret resources, before it is sent to its nodes.
    pub fn hold_secrets(&mut self, names: &BTreeSet<Name>) {
        names.iter().for_each(|name| self.secrets.hold(name));
    }

    /// Records that a Plan, which no node has any more, no longer names these Secret resources.
    pub fn let_go_of_secrets(&mut self, names: &BTreeSet<Name>) {
        names.iter().for_each(|name| self.secrets.let_go(name));
    }

    /// Sets a Secret resource. If it is new or changed, the nodes with a Plan that names it are sent it.
    pub fn set_secret(&mut self, resource: Arc<Resource>) {
        for node in self.secrets.set(resource.clone()) {
            self.put(&node, PlanType::Secret, resource.clone());
        }
    }

    /// Sends a resource without references (a NodeProxy or a Probe) to a node.
    pub fn put(&mut self, node: &Name, ty: PlanType, resource: Arc<Resource>) {
        self.visited += 1;
        self.heart.beat();
        let key = (ty, resource.name().clone());
        self.sets.entry(node.clone()).or_default().resources.insert(key.clone(), resource.clone());
        self.pending_of(node).insert(key, Some(resource));
    }

    /// Removes a resource without references from a node.
    pub fn take_away(&mut self, node: &Name, ty: PlanType, name: Name) {
        self.visited += 1;
        let Some(set) = self.sets.get_mut(node) else { return };
        let key = (ty, name);
        set.resources.remove(&key);
        self.pending_of(node).insert(key, None);
        self.forget_if_empty(node);
    }

    /// Sends a group's change only to the nodes that use the group.
    pub fn publish_group(&mut self, group: &Name, changes: &Changes<PlanType>) {
        let Some(users) = self.users.get(group) else { return };
        for node in users {
            self.visited += 1;
            let pending = &mut self.pending.entry(node.clone()).or_default().single;
            pending.extend(changes.remove.iter().map(|(ty, name)| ((*ty, name.clone()), None)));
            let put = changes.upsert.iter().map(|(ty, r)| ((*ty, r.name().clone()), Some(r.clone())));
            pending.extend(put);
        }
    }

    /// Handles a group's first endpoint on `place`: the nodes that use the group are sent the Health of `place`.
    pub fn place_came(&mut self, group: &Name, place: &Name, groups: &Groups) {
        let (Some(users), Some(health)) = (self.users.get(group), groups.places.health(place)) else {
            return;
        };
        for node in users.iter().filter(|node| *node != place) {
            self.visited += 1;
            let key = (PlanType::Health, place.clone());
            self.pending.entry(node.clone()).or_default().single.insert(key, Some(health.clone()));
        }
    }

    /// Handles the loss of a group's last endpoint on `place`: nodes that no longer need the Health of `place` lose it.
    pub fn place_went(&mut self, group: &Name, place: &Name, groups: &Groups) {
        if groups.places.health(place).is_none() {
            return;
        }
        let users: Vec<Name> = self.users.get(group).into_iter().flatten().cloned().collect();
        for node in users {
            self.unless_needed(&node, place, groups);
        }
    }

    /// Sends a node's Health to the nodes that use an endpoint there, or removes it if there is none.
    pub fn publish_health(&mut self, place: &Name, groups: &Groups) {
        let health = groups.places.health(place);
        let mut concerned = BTreeSet::new();
        for group in groups.places.groups_on(place).into_iter().flatten() {
            let users = self.users.get(group).into_iter().flatten();
            self.visited += users.clone().count() as u64;
            concerned.extend(users.filter(|node| *node != place));
        }
        for node in concerned {
            let key = (PlanType::Health, place.clone());
            self.pending.entry(node.clone()).or_default().single.insert(key, health.cloned());
        }
    }

    /// Returns each node's changes since the last call.
    pub fn take(&mut self, groups: &Groups) -> BTreeMap<Name, Changes<PlanType>> {
        let mut bundles: HashMap<BTreeSet<Name>, Bundle> = HashMap::new();
        let mut taken = BTreeMap::new();
        for (node, pending) in std::mem::take(&mut self.pending) {
            self.heart.beat();
            let bundle = match bundles.get(&pending.groups) {
                Some(bundle) => bundle.clone(),
                None => {
                    let bundle = self.bundle(&pending.groups, groups);
                    bundles.insert(pending.groups, bundle.clone());
                    bundle
                }
            };
            let changes = as_changes(&node, pending.single, &bundle);
            taken.insert(node, changes);
        }
        taken
    }

    /// Returns all resources of a node.
    pub fn all(&self, node: &Name, groups: &Groups) -> Changes<PlanType> {
        let mut changes = Changes::default();
        let Some(set) = self.sets.get(node) else { return changes };
        changes.upsert.extend(set.resources.iter().map(|((ty, _), r)| (*ty, r.clone())));
        let mut places = BTreeSet::new();
        for group in set.groups.keys() {
            changes.upsert.extend(groups.resources(group));
            places.extend(groups.nodes_of(group).filter(|place| *place != node));
        }
        let health = places.into_iter().filter_map(|place| groups.places.health(place));
        changes.upsert.extend(health.map(|health| (PlanType::Health, health.clone())));
        changes
    }

    /// The heartbeat. It beats at each step of a change.
    pub fn heart(&self) -> &Heart {
        &self.heart
    }

    /// The number of entries visited since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.visited
    }

    fn hold(&mut self, node: &Name, group: &Name) {
        self.visited += 1;
        self.heart.beat();
        let count = self.sets.entry(node.clone()).or_default().groups.entry(group.clone()).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        self.users.entry(group.clone()).or_default().insert(node.clone());
        self.pending.entry(node.clone()).or_default().groups.insert(group.clone());
    }

    fn bundle(&mut self, of: &BTreeSet<Name>, groups: &Groups) -> Bundle {
        let (mut bundle, mut places) = (BTreeMap::new(), BTreeSet::new());
        for group in of {
            self.heart.beat();
            let resources = groups.resources(group).into_iter();
            bundle.extend(resources.map(|(ty, resource)| ((ty, resource.name().clone()), resource)));
            places.extend(groups.nodes_of(group).inspect(|_| self.visited += 1));
        }
        let health = places.into_iter().filter_map(|place| Some((place, groups.places.health(place)?)));
        bundle.extend(health.map(|(place, health)| ((PlanType::Health, place.clone()), health.clone())));
        Arc::new(bundle)
    }

    fn pending_of(&mut self, node: &Name) -> &mut BTreeMap<Key, Option<Arc<Resource>>> {
        &mut self.pending.entry(node.clone()).or_default().single
    }

    /// Releases one use of each of a Plan's groups and Secrets. `groups` still knows their slices here, because a group is closed only
    /// after every node has released it.
    fn release(&mut self, node: &Name, plan: &Encoded, groups: &Groups) {
        for group in &plan.groups {
            self.visited += 1;
            self.heart.beat();
            let last = match self.sets.get_mut(node).and_then(|s| s.groups.get_mut(group)) {
                Some(count) => {
                    *count -= 1;
                    *count == 0
                }
                None => true,
            };
            if last {
                self.forget_group(node, group, groups);
            }
        }
        for secret in &plan.secrets {
            if self.secrets.take_back(secret, node) {
                self.take_away(node, PlanType::Secret, secret.clone());
            }
        }
    }

    fn forget_group(&mut self, node: &Name, group: &Name, groups: &Groups) {
        if let Some(set) = self.sets.get_mut(node) {
            set.groups.remove(group);
        }
        self.forget_if_empty(node);
        if let Some(users) = self.users.get_mut(group) {
            users.remove(node);
            if users.is_empty() {
                self.users.remove(group);
            }
        }
        let pending = self.pending.entry(node.clone()).or_default();
        pending.groups.remove(group);
        let resources = groups.resources(group).into_iter();
        pending.single.extend(resources.map(|(ty, resource)| ((ty, resource.name().clone()), None)));
        for place in groups.nodes_of(group).filter(|place| groups.places.health(place).is_some()) {
            self.unless_needed(node, place, groups);
        }
    }

    /// Removes the Health of `place` from a node that uses no endpoint there.
    fn unless_needed(&mut self, node: &Name, place: &Name, groups: &Groups) {
        if node != place && !self.needs(node, place, groups) {
            self.pending_of(node).insert((PlanType::Health, place.clone()), None);
        }
    }

    /// Returns whether a node uses a group with an endpoint on `place`. Iterates the shorter of the two lists.
    fn needs(&mut self, node: &Name, place: &Name, groups: &Groups) -> bool {
        self.visited += 1;
        let (Some(set), Some(there)) = (self.sets.get(node), groups.places.groups_on(place)) else {
            return false;
        };
        let mut looked = 0;
        let found = match set.groups.len() < there.len() {
            true => set.groups.keys().inspect(|_| looked += 1).any(|group| there.contains(group)),
            false => there.iter().inspect(|_| looked += 1).any(|group| set.groups.contains_key(group)),
        };
        self.visited += looked;
        found
    }

    fn forget_if_empty(&mut self, node: &Name) {
        if self.sets.get(node).is_some_and(|s| s.resources.is_empty() && s.groups.is_empty()) {
            self.sets.remove(node);
        }
    }
}

/// Merges a node's own changes with the bundle of the groups that are new to it. The bundle is newer and takes
/// precedence. The node's own Health is left out: a node does not need it.
fn as_changes(
    node: &Name,
    single: BTreeMap<Key, Option<Arc<Resource>>>,
    bundle: &BTreeMap<Key, Arc<Resource>>,
) -> Changes<PlanType> {
    let mut changes = Changes::default();
    let own = |(ty, name): &Key| *ty == PlanType::Health && name == node;
    let others = bundle.iter().filter(|(key, _)| !own(key));
    changes.upsert.extend(others.map(|((ty, _), resource)| (*ty, resource.clone())));
    for ((ty, name), resource) in single.into_iter().filter(|(key, _)| own(key) || !bundle.contains_key(key))
    {
        match resource {
            Some(resource) => changes.upsert.push((ty, resource)),
            None => changes.remove.push((ty, name)),
        }
    }
    changes
}
