//! The hub's index: takes watched state in by three verbs (apply, delete, reset) and derives what each node is sent.
//!
//! Pure and synchronous; the clock is passed in. No verb iterates all pods, nodes or custom resources. An event visits
//! only what shares a label with it and the nodes that use what changed. [`Index::take`] returns the resulting changes.
//! The verbs of pods are here, those of objects that become Plans in `plan_verbs`, those of NodeProxies and nodes in
//! `proxy_verbs`, those of namespaces in `namespace_verbs`, and those of reported health in `health_verbs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portreeve_api::pod::{Pod, is_service_attribute};
use portreeve_api::refs::ObjectRef;
use portreeve_api::{PlanType, plan};
use portreeve_runtime::Heart;
use portreeve_xds::{Changes, Resource, Withheld};

use crate::lookup::{Answers, Question};
use crate::namespaces::Namespaces;
use crate::object::Object;
use crate::selection::PROXY_NAME_ATTRIBUTE;
use crate::settings::Settings;
use crate::verdict::{Refs, Verdict};

mod announced_verbs;
mod answer_verbs;
mod askers;
mod attributes;
mod census;
mod classes;
mod crowds;
mod groups;
mod health_verbs;
mod listed;
mod listed_verbs;
mod matches;
mod member;
mod missing;
mod namespace_verbs;
mod node_sets;
mod object_verbs;
mod orphans;
mod pending;
mod places;
mod plan_entry;
mod plan_verbs;
mod pod;
mod probes;
mod proxies;
mod proxy_verbs;
mod secrets;
mod selections;
mod slice;
mod source_verbs;
mod sources;
mod subjects;
#[cfg(test)]
mod tests;
mod used_selection;
mod verdicts;

pub use census::Census;
pub use listed::{ListedService, Slices};
pub use matches::{Labels, Name};
pub use sources::SourceState;

use askers::Askers;
pub use classes::ClassId;
use classes::Encoded;
use groups::Groups;
use node_sets::NodeSets;
use orphans::Orphans;
pub use pending::Taken;
use plan_entry::PlanEntry;
use pod::KnownPod;
use probes::Probes;
use proxies::Proxies;
use selections::Selections;
use sources::Sources;
use verdicts::Verdicts;

/// The hub's whole state.
pub struct Index {
    settings: Settings,
    /// Node → its pods' uids → the names that their proxies announced.
    announced: HashMap<Name, BTreeMap<Name, String>>,
    proxies: Proxies,
    sources: Sources,
    /// How long the pods of a source that can't be read stay members of clusters.
    source_grace_ms: i64,
    selections: Selections,
    groups: Groups,
    plans: HashMap<ObjectRef, PlanEntry>,
    answers: Answers,
    askers: Askers,
    /// Whether the Secrets that objects ask for changed since the last [`Index::take_wanted_secrets`].
    wanted_changed: bool,
    /// The newest version of each object that asked a question.
    asking: HashMap<ObjectRef, Box<dyn Object>>,
    /// Questions about numbers of proxies whose answers changed during the present verb.
    counted: BTreeSet<Question>,
    /// The number of resolutions since the start.
    resolutions: u64,
    nodes: NodeSets,
    probes: Probes,
    verdicts: Verdicts,
    orphans: Orphans,
    /// Objects whose Plan or whose nodes changed since the last [`Index::take_affected`].
    affected: BTreeSet<ObjectRef>,
    /// Objects whose Plan was added, changed or withdrawn since the last [`Index::take_replanned`].
    replanned: BTreeSet<ObjectRef>,
    /// The namespaces that the hub is restricted to.
    namespaces: Namespaces,
}

// === impl Index ===

impl Index {
    /// Creates an empty index. A Plan stays on a node for `grace_ms` after its last workload left.
    pub fn new(settings: impl Into<Settings>, grace_ms: i64) -> Self {
        Self {
            settings: settings.into(),
            announced: HashMap::new(),
            proxies: Proxies::default(),
            sources: Sources::default(),
            source_grace_ms: i64::MAX,
            selections: Selections::new(grace_ms),
            groups: Groups::default(),
            plans: HashMap::new(),
            answers: Answers::default(),
            askers: Askers::default(),
            wanted_changed: false,
            asking: HashMap::new(),
            counted: BTreeSet::new(),
            resolutions: 0,
            nodes: NodeSets::default(),
            probes: Probes::default(),
            verdicts: Verdicts::default(),
            orphans: Orphans::default(),
            affected: BTreeSet::new(),
            replanned: BTreeSet::new(),
            namespaces: Namespaces::default(),
        }
    }

    /// Restricts the index to some namespaces. It then reports nothing on NodeProxies that take objects of other
    /// namespaces.
    pub fn restricted(self, namespaces: &Namespaces) -> Self {
        Self { namespaces: namespaces.clone(), ..self }
    }

    /// The settings of the hub.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The heartbeat. It beats at each step of a change, so that a long change does not look like a hang.
    pub fn heart(&self) -> &Heart {
        self.nodes.heart()
    }

    /// Adds or changes a pod.
    pub fn apply_pod(&mut self, pod: Pod, now_ms: i64) {
        if pod.finished {
            return self.delete_pod(&pod.uid, now_ms);
        }
        let (uid, own) = (self.selections.uid_of(&pod.uid), pod.attributes());
        let pod = self.proxies.share_names(KnownPod::new(pod, &own));
        let attributes = self.attributes(own, &uid, &pod);
        let (old, same) = (self.selections.pod(&uid), self.selections.carries(&uid, &attributes));
        if same && old == Some(&pod) {
            return;
        }
        if !same {
            let before = self.selections.labels_of(&uid);
            self.touch_unmatched(old.is_some().then_some(&before).into_iter().chain([&attributes]));
        }
        self.place_pod(&uid, pod, attributes, now_ms);
    }

    /// Updates a pod after the Services that list it changed.
    fn renew_pod(&mut self, uid: &Name, now_ms: i64) {
        let Some(pod) = self.selections.pod(uid).cloned() else { return };
        let attributes = self.attributes(self.selections.labels_of(uid), uid, &pod);
        self.touch_unmatched([&attributes]);
        self.place_pod(uid, pod, attributes, now_ms);
    }

    /// Adds a pod to the selections that match its attributes and removes it from all others. `old_node` is its previous
    /// node.
    fn place_pod(&mut self, uid: &Name, pod: KnownPod, attributes: Labels, now_ms: i64) {
        let old_node = self.selections.pod(uid).and_then(|old| old.node.clone());
        let (node, mut joined) = (pod.node.clone(), BTreeSet::new());
        for shift in self.selections.set_pod(uid, pod, &attributes) {
            if shift.joined {
                self.join(&shift.selector, node.as_ref());
                joined.insert(shift.selector);
            } else {
                self.leave(&shift.selector, old_node.as_ref(), now_ms);
                self.set_endpoint(&shift.selector, uid, None);
            }
        }
        for selection in self.selections.of_pod(uid) {
            if old_node != node && !joined.contains(&selection) {
                self.join(&selection, node.as_ref());
                self.leave(&selection, old_node.as_ref(), now_ms);
            }
            let member = self.selections.member_of(&selection, uid);
            self.set_endpoint(&selection, uid, member);
        }
        self.refresh_probes(uid);
        self.wake_counted();
    }

    /// The attributes that selectors match a pod by: its `own` ones, the name of its proxy, and those of Services that list it. Former
    /// ones of the last two kinds among `own` are left out.
    fn attributes(&self, own: Labels, uid: &Name, pod: &KnownPod) -> Labels {
        let mut attributes = own;
        attributes.retain(|key, _| key != PROXY_NAME_ATTRIBUTE && !is_service_attribute(key));
        let name =
            self.proxy_name_of(uid, pod).map(|name| (PROXY_NAME_ATTRIBUTE.to_owned(), name.to_owned()));
        attributes.extend(name);
        self.selections.listed().complete(uid, &mut attributes);
        attributes
    }

    /// Removes a pod.
    pub fn delete_pod(&mut self, uid: &Name, now_ms: i64) {
        let Some(node) = self.selections.pod(uid).map(|pod| pod.node.clone()) else { return };
        let attributes = self.selections.labels_of(uid);
        for shift in self.selections.remove_pod(uid) {
            self.leave(&shift.selector, node.as_ref(), now_ms);
            self.set_endpoint(&shift.selector, uid, None);
        }
        self.refresh_probes(uid);
        self.touch_unmatched([&attributes]);
    }

    /// Takes the complete list of the pods of a namespace (`None`: of all namespaces) after a disconnect. Pods missing from
    /// the list are removed.
    pub fn reset_pods(&mut self, namespace: Option<&Name>, pods: Vec<Pod>, now_ms: i64) {
        let listed: BTreeSet<Name> = pods.iter().map(|p| p.uid.clone()).collect();
        let there = |pod: &KnownPod| namespace.is_none_or(|namespace| pod.namespace == *namespace);
        let gone = self.selections.pods().filter(|(uid, pod)| there(pod) && !listed.contains(*uid));
        let gone: Vec<Name> = gone.map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            self.delete_pod(&uid, now_ms);
        }
        for pod in pods {
            self.apply_pod(pod, now_ms);
        }
    }

    /// Withdraws Plans whose grace period is over, and the pods of sources whose grace is over. Returns these sources.
    pub fn tick(&mut self, now_ms: i64) -> Vec<Name> {
        let withdrawn = self.withdraw_sources(now_ms);
        for (selection, nodes) in self.selections.expired(now_ms) {
            let plans = self.encoded(&self.selections.plans_of(&selection));
            self.nodes.drop_plans(&nodes.iter().collect::<Vec<_>>(), &plans, &self.groups);
        }
        withdrawn
    }

    /// When [`Index::tick`] has work to do next, in milliseconds since the Unix epoch.
    pub fn deadline(&self) -> Option<i64> {
        self.selections.deadline().into_iter().chain(self.source_deadline()).min()
    }

    /// The resources that every node keeps although the hub does not serve them: see [`Withheld`].
    pub fn withheld(&self) -> Withheld<PlanType> {
        self.orphans.withheld()
    }

    /// The withheld resources, if they changed since the last call.
    pub fn take_withheld(&mut self) -> Option<Withheld<PlanType>> {
        self.orphans.take()
    }

    /// Keeps a node's changes for [`Index::take`] from now on, because its agent connected.
    pub fn attach(&mut self, node: &Name) {
        self.nodes.attach(node);
    }

    /// Keeps a node's changes no longer.
    pub fn detach(&mut self, node: &Name) {
        self.nodes.detach(node);
    }

    /// Returns the changes of each attached node since the last call.
    pub fn take(&mut self) -> BTreeMap<Name, Taken> {
        self.nodes.take(&self.groups)
    }

    /// The class of a node; `None` if it has no Plan.
    pub fn class_of(&self, node: &Name) -> Option<ClassId> {
        self.nodes.class_of(node)
    }

    /// Returns all resources that a node needs. It doesn't need its own Health.
    pub fn all_of(&self, node: &Name) -> Changes<PlanType> {
        let (mut all, shared) = (self.own_of(node), self.shared_of(self.class_of(node)));
        let needed = |(ty, one): &(PlanType, Arc<Resource>)| *ty != PlanType::Health || one.name() != node;
        all.upsert.extend(shared.upsert.into_iter().filter(needed));
        all
    }

    /// Returns the resources that a node has for itself, for an agent that connects.
    pub fn own_of(&self, node: &Name) -> Changes<PlanType> {
        self.nodes.own(node)
    }

    /// Returns the resources of all nodes of a class.
    pub fn shared_of(&self, class: Option<ClassId>) -> Changes<PlanType> {
        self.nodes.shared(class, &self.groups)
    }

    /// Returns the verdicts that changed since the last call, for the writer of conditions.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        let mut verdicts = std::mem::take(&mut self.verdicts);
        let taken = verdicts.take(|key| {
            let Some(entry) = self.plans.get(key) else { return (Refs::Resolved, Vec::new()) };
            let used = &entry.encoded.groups;
            let workload = self.selections.workload_refs(&entry.workload);
            let groups = used.iter().map(|group| self.selections.group_refs(group));
            (groups.fold(workload, Refs::worse), self.losses_of(used))
        });
        self.verdicts = verdicts;
        taken
    }

    /// The number of entries visited since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        let kept = self.selections.visited() + self.groups.visited() + self.nodes.visited();
        kept + self.proxies.visited() + self.probes.visited()
    }

    fn set_endpoint(&mut self, selection: &Name, uid: &Name, endpoint: Option<plan::Endpoint>) {
        let moved = self.groups.set(selection, uid, endpoint);
        if !moved.changes.is_empty() {
            self.nodes.publish_group(selection, &moved.changes);
        }
        if let Some(place) = &moved.came {
            self.nodes.place_came(selection, place, &self.groups);
        }
        if let Some(place) = &moved.went {
            self.nodes.place_went(selection, place, &self.groups);
        }
        if self.selections.turned(selection) {
            self.verdicts.touch(self.selections.holders_of(selection));
        }
        self.count(selection);
    }

    /// Updates the verdicts of objects whose selections match nothing, after pods with these labels came or went elsewhere.
    fn touch_unmatched<'a>(&mut self, labels: impl IntoIterator<Item = &'a Labels>) {
        for labels in labels {
            self.verdicts.touch(self.selections.unmatched_with(labels));
        }
    }

    /// Records that a member of a selection appeared on each of these nodes.
    fn join<'n>(&mut self, selection: &Name, nodes: impl IntoIterator<Item = &'n Name>) {
        let (mut present, mut new) = (false, Vec::new());
        for node in nodes {
            present |= !self.selections.is_present(selection, Some(node));
            new.extend(self.selections.join(selection, Some(node)).then_some(node));
        }
        if !present {
            return;
        }
        let keys = self.selections.plans_of(selection);
        self.nodes.put_plans(&new, &self.encoded(&keys), &self.groups);
        self.affected.extend(keys);
    }

    /// The Plans in force of these objects.
    fn encoded(&self, keys: &[ObjectRef]) -> Vec<Arc<Encoded>> {
        keys.iter().filter_map(|key| Some(self.plans.get(key)?.encoded.clone())).collect()
    }

    /// Records that a member of a selection left each of these nodes.
    fn leave<'n>(&mut self, selection: &Name, nodes: impl IntoIterator<Item = &'n Name>, now_ms: i64) {
        let mut left = false;
        for node in nodes {
            self.selections.leave(selection, Some(node), now_ms);
            left |= !self.selections.is_present(selection, Some(node));
        }
        if left {
            self.affected.extend(self.selections.plans_of(selection));
        }
    }
}
