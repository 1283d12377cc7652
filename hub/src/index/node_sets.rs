//! The resources that each node is sent: its own ones (NodeProxies and Probes), the Plans of its class, the Groups and Secrets that
//! these refer to, and the Health of the nodes on which those groups have endpoints.
//!
//! Changes are only kept for nodes whose agents are connected, and once for all of a class.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_runtime::Heart;
use portreeve_xds::{Changes, Resource};

use super::classes::{ClassId, Classes, Content, Difference, Encoded, Exchange};
use super::groups::Groups;
use super::matches::Name;
use super::pending::{Key, Pending, Step, Taken, Taking};
use super::secrets::Secrets;

/// The resource sets of all nodes.
#[derive(Default)]
pub struct NodeSets {
    /// The nodes that have any resources.
    nodes: HashMap<Name, Node>,
    classes: Classes,
    secrets: Secrets,
    /// The nodes whose agents are connected, each with its changes since they were last taken.
    attached: HashMap<Name, Pending>,
    /// The attached nodes with changes.
    dirty: BTreeSet<Name>,
    visited: u64,
    heart: Heart,
}

#[derive(Default)]
struct Node {
    /// The resources that have no references.
    own: BTreeMap<Key, Arc<Resource>>,
    /// `None`: it has no Plan.
    class: Option<ClassId>,
}

// === impl NodeSets ===

impl NodeSets {
    /// Keeps a node's changes from now on, because its agent connected.
    pub fn attach(&mut self, node: &Name) {
        self.attached.entry(node.clone()).or_default();
        if let Some(class) = self.class_of(node) {
            self.classes.attach(class, node);
        }
    }

    /// Keeps a node's changes no longer.
    pub fn detach(&mut self, node: &Name) {
        self.attached.remove(node);
        self.dirty.remove(node);
        if let Some(class) = self.class_of(node) {
            self.classes.detach(class, node);
        }
    }

    /// Sends Plans to nodes that don't have them.
    pub fn put_plans(&mut self, nodes: &[&Name], plans: &[Arc<Encoded>], groups: &Groups) {
        self.exchange(nodes, Exchange { put: plans, drop: &[] }, groups);
    }

    /// Removes Plans from nodes that have them, and the groups and Secrets that only these Plans needed. `groups` still knows
    /// their slices here, because a group is closed only after every node has released it.
    pub fn drop_plans(&mut self, nodes: &[&Name], plans: &[Arc<Encoded>], groups: &Groups) {
        self.exchange(nodes, Exchange { put: &[], drop: plans }, groups);
    }

    /// Sends a Plan's new version to the nodes that have the old one.
    pub fn renew_plan(&mut self, new: &Arc<Encoded>, old: &Arc<Encoded>, groups: &Groups) {
        let exchange = Exchange { put: std::slice::from_ref(new), drop: std::slice::from_ref(old) };
        for class in self.classes.with_plan(old.resource.name()) {
            let (difference, step) = self.step(Some(class), exchange, groups);
            self.classes.renew(class, exchange, &difference);
            self.publish(class, step);
        }
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
        if !self.secrets.set(resource.clone()) {
            return;
        }
        let key = (PlanType::Secret, resource.name().clone());
        let users: Vec<ClassId> = self.classes.using_secret(&key.1).collect();
        let step = Step::of(vec![(key, Some(resource))]);
        users.into_iter().for_each(|class| self.publish(class, step.clone()));
    }

    /// Sends a resource without references (a NodeProxy or a Probe) to a node.
    pub fn put(&mut self, node: &Name, ty: PlanType, resource: Arc<Resource>) {
        self.visited += 1;
        self.heart.beat();
        let key = (ty, resource.name().clone());
        self.nodes.entry(node.clone()).or_default().own.insert(key.clone(), resource.clone());
        self.set_own(node, key, Some(resource));
    }

    /// Removes a resource without references from a node.
    pub fn take_away(&mut self, node: &Name, ty: PlanType, name: Name) {
        self.visited += 1;
        let Some(found) = self.nodes.get_mut(node) else { return };
        let key = (ty, name);
        found.own.remove(&key);
        self.set_own(node, key, None);
        self.forget_if_empty(node);
    }

    /// Sends a group's change only to the nodes that use the group.
    pub fn publish_group(&mut self, group: &Name, changes: &Changes<PlanType>) {
        let removed = changes.remove.iter().map(|(ty, name)| ((*ty, name.clone()), None));
        let put = changes.upsert.iter().map(|(ty, r)| ((*ty, r.name().clone()), Some(r.clone())));
        self.publish_to_users(group, Step::of(removed.chain(put).collect()));
    }

    /// Handles a group's first endpoint on `place`: the nodes that use the group are sent the Health of `place`.
    pub fn place_came(&mut self, group: &Name, place: &Name, groups: &Groups) {
        if let Some(health) = groups.places.health(place) {
            let key = (PlanType::Health, place.clone());
            self.publish_to_users(group, Step::of(vec![(key, Some(health.clone()))]));
        }
    }

    /// Handles the loss of a group's last endpoint on `place`: nodes that no longer need the Health of `place` lose it.
    pub fn place_went(&mut self, group: &Name, place: &Name, groups: &Groups) {
        if groups.places.health(place).is_none() {
            return;
        }
        let users: Vec<ClassId> = self.classes.using_group(group).collect();
        let step = Step::of(vec![((PlanType::Health, place.clone()), None)]);
        for class in users {
            let content = self.classes.content(Some(class));
            if content.is_none_or(|content| !needs(content, &[], place, groups, &mut self.visited)) {
                self.publish(class, step.clone());
            }
        }
    }

    /// Sends a node's Health to the nodes that use an endpoint there, or removes it if there is none.
    pub fn publish_health(&mut self, place: &Name, groups: &Groups) {
        let mut concerned = BTreeSet::new();
        for group in groups.places.groups_on(place).into_iter().flatten() {
            self.visited += 1;
            concerned.extend(self.classes.using_group(group));
        }
        let key = (PlanType::Health, place.clone());
        let step = Step::of(vec![(key, groups.places.health(place).cloned())]);
        concerned.into_iter().for_each(|class| self.publish(class, step.clone()));
    }

    /// Returns the changes of each node with a connected agent since the last call.
    pub fn take(&mut self, groups: &Groups) -> BTreeMap<Name, Taken> {
        let mut taking = Taking::new(groups, &self.heart);
        let mut taken = BTreeMap::new();
        for node in std::mem::take(&mut self.dirty) {
            let Some(pending) = self.attached.get_mut(&node).map(std::mem::take) else { continue };
            let class = self.nodes.get(&node).and_then(|found| found.class);
            let changes = taking.changes(class, pending);
            if !changes.is_empty() {
                taken.insert(node, changes);
            }
        }
        self.visited += taking.visited;
        taken
    }

    /// Returns the resources that a node has for itself.
    pub fn own(&self, node: &Name) -> Changes<PlanType> {
        let own = self.nodes.get(node).into_iter().flat_map(|node| &node.own);
        Changes { upsert: own.map(|((ty, _), one)| (*ty, one.clone())).collect(), remove: Vec::new() }
    }

    /// Returns the resources of all nodes of a class.
    pub fn shared(&self, class: Option<ClassId>, groups: &Groups) -> Changes<PlanType> {
        let mut changes = Changes::default();
        let Some(content) = self.classes.content(class) else { return changes };
        let plans = content.plans.values().map(|plan| (PlanType::Plan, plan.resource.clone()));
        let secrets = content.secrets.keys().filter_map(|name| self.secrets.get(name));
        changes.upsert.extend(plans.chain(secrets.map(|secret| (PlanType::Secret, secret.clone()))));
        for group in content.groups.keys() {
            changes.upsert.extend(groups.resources(group));
        }
        let concerns = |place: &Name| needs(content, &[], place, groups, &mut 0);
        let health = groups.places.reported().filter(|(place, _)| concerns(place));
        changes.upsert.extend(health.map(|(_, health)| (PlanType::Health, health.clone())));
        changes
    }

    /// The class of a node; `None` if it has no Plan.
    pub fn class_of(&self, node: &Name) -> Option<ClassId> {
        self.nodes.get(node)?.class
    }

    /// The heartbeat. It beats at each step of a change.
    pub fn heart(&self) -> &Heart {
        &self.heart
    }

    /// The number of entries visited since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.visited
    }

    /// Exchanges Plans of some nodes. What that means is computed once for each of their classes.
    fn exchange(&mut self, nodes: &[&Name], exchange: Exchange<'_>, groups: &Groups) {
        let mut by_class: BTreeMap<Option<ClassId>, Vec<&Name>> = BTreeMap::new();
        for node in nodes {
            by_class.entry(self.class_of(node)).or_default().push(node);
        }
        for (class, moving) in by_class {
            let (difference, step) = self.step(class, exchange, groups);
            let target = self.classes.shift(class, moving.len(), exchange, &difference);
            for node in moving {
                self.visited += 1;
                self.heart.beat();
                self.move_node(node, (class, target), &step);
            }
        }
    }

    fn move_node(&mut self, node: &Name, (from, to): (Option<ClassId>, Option<ClassId>), step: &Arc<Step>) {
        if from != to {
            match self.nodes.get_mut(node) {
                Some(found) => found.class = to,
                None => drop(self.nodes.insert(node.clone(), Node { class: to, ..Node::default() })),
            }
            self.forget_if_empty(node);
        }
        let Some(pending) = self.attached.get_mut(node) else { return };
        pending.steps.push(step.clone());
        self.dirty.insert(node.clone());
        if from != to {
            from.into_iter().for_each(|class| self.classes.detach(class, node));
            to.into_iter().for_each(|class| self.classes.attach(class, node));
        }
    }

    /// Returns what an exchange changes for the nodes of a class. The class is not changed yet.
    fn step(
        &mut self,
        class: Option<ClassId>,
        exchange: Exchange<'_>,
        groups: &Groups,
    ) -> (Difference, Arc<Step>) {
        let nothing = Content::default();
        let content = self.classes.content(class).unwrap_or(&nothing);
        let difference = content.difference(exchange);
        let Difference { groups: came, left, secrets, left_secrets } = &difference;
        self.visited += (exchange.put.len() + exchange.drop.len() + came.len() + left.len()) as u64;
        let mut single: Vec<(Key, Option<Arc<Resource>>)> = Vec::new();
        let gone = exchange.drop.iter().map(|plan| ((PlanType::Plan, plan.resource.name().clone()), None));
        single.extend(gone.chain(left_secrets.iter().map(|name| ((PlanType::Secret, name.clone()), None))));
        let secrets = secrets.iter().filter_map(|name| self.secrets.get(name));
        let secrets = secrets.map(|secret| (PlanType::Secret, secret));
        let plans = exchange.put.iter().map(|plan| (PlanType::Plan, &plan.resource));
        let put = secrets.chain(plans).map(|(ty, r)| ((ty, r.name().clone()), Some(r.clone())));
        single.extend(put);
        let mut places = BTreeSet::new();
        for group in left {
            self.heart.beat();
            let resources = groups.resources(group).into_iter();
            single.extend(resources.map(|(ty, resource)| ((ty, resource.name().clone()), None)));
            places.extend(groups.nodes_of(group).filter(|place| groups.places.health(place).is_some()));
        }
        for place in places {
            if !needs(content, left, place, groups, &mut self.visited) {
                single.push(((PlanType::Health, place.clone()), None));
            }
        }
        let step = Arc::new(Step { left: left.clone(), came: came.clone(), single });
        (difference, step)
    }

    fn publish_to_users(&mut self, group: &Name, step: Arc<Step>) {
        let users: Vec<ClassId> = self.classes.using_group(group).collect();
        users.into_iter().for_each(|class| self.publish(class, step.clone()));
    }

    /// Adds a step to the changes of a class's attached nodes.
    fn publish(&mut self, class: ClassId, step: Arc<Step>) {
        for node in self.classes.attached(class) {
            self.visited += 1;
            if let Some(pending) = self.attached.get_mut(node) {
                pending.steps.push(step.clone());
                self.dirty.insert(node.clone());
            }
        }
    }

    fn set_own(&mut self, node: &Name, key: Key, resource: Option<Arc<Resource>>) {
        if let Some(pending) = self.attached.get_mut(node) {
            pending.own.insert(key, resource);
            self.dirty.insert(node.clone());
        }
    }

    fn forget_if_empty(&mut self, node: &Name) {
        if self.nodes.get(node).is_some_and(|found| found.own.is_empty() && found.class.is_none()) {
            self.nodes.remove(node);
        }
    }
}

/// Returns whether Plans use a group with an endpoint on `place`, apart from the groups that they leave. Iterates the shorter of
/// the two lists.
fn needs(content: &Content, left: &[Name], place: &Name, groups: &Groups, visited: &mut u64) -> bool {
    *visited += 1;
    let Some(there) = groups.places.groups_on(place) else { return false };
    let stays = |group: &Name| left.binary_search(group).is_err();
    let mut looked = 0;
    let found = match content.groups.len() < there.len() {
        true => content.groups.keys().inspect(|_| looked += 1).any(|g| there.contains(g) && stays(g)),
        false => there.iter().inspect(|_| looked += 1).any(|g| content.groups.contains_key(g) && stays(g)),
    };
    *visited += looked;
    found
}
