//! What a proxy has accepted, byte for byte ([`Ledger`]), and what follows for what it is sent.
//!
//! Any change of a UDP listener or of its cluster makes Envoy forget all its sessions. So what an earlier agent sent
//! stays as it is, whatever this agent would make of the same inputs, until the inputs change or the proxy starts anew.
//! And what a proxy refuses gives way to what it last accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portreeve_api::refs::ResourceName;
use portreeve_api::{names, plan};
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Name, Resource, Version};

use super::backing::{self, Backing, LeftBehind};
use super::former::FormerNames;
use super::inputs::Inputs;
use super::proxy::Contribution;
use crate::translate::envoy::listener;

/// A resource's type and name.
type Key = (EnvoyType, Name);

/// Versions of one resource that may wait for the proxy's answer; it has at most four responses to answer.
const OFFERED: usize = 4;

/// A resource that a proxy accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its type.
    pub ty: EnvoyType,
    /// A digest of what it was made from.
    pub inputs: u64,
    /// A cluster's sources, as a digest; `None`: not known, as an earlier version of the agent didn't keep them.
    pub sources: Option<u64>,
    /// The resource.
    pub resource: Arc<Resource>,
}

/// What one proxy accepted and refused.
#[derive(Default)]
pub struct Ledger {
    pages: BTreeMap<Name, Page>,
    refused: BTreeMap<Key, Refusal>,
    /// Refused for now: the session tries these versions again.
    put_off: BTreeMap<Key, Version>,
    /// No longer refused, and nothing is sent for it: what was accepted is what is wanted again.
    cleared: Vec<Key>,
}

/// A proxy's no to one version of a resource.
struct Refusal {
    version: Version,
    /// In its own words.
    text: String,
}

/// The part of one Plan.
#[derive(Default)]
struct Page {
    lines: BTreeMap<Key, Line>,
    /// Put up, and neither accepted nor refused yet; the newest last.
    offered: BTreeMap<Key, Vec<Accepted>>,
    /// What stands behind accepted listeners that are to be replaced.
    backings: BTreeMap<Key, Backing>,
    former: FormerNames,
}

struct Line {
    accepted: Accepted,
    /// An earlier agent sent it: it stays for as long as its inputs do.
    pinned: bool,
}

// === impl Accepted ===

impl Accepted {
    /// A resource from its bytes. A cluster's assignment has its name.
    pub fn new(ty: EnvoyType, name: Name, inputs: u64, body: &[u8]) -> Self {
        let resource = match ty {
            EnvoyType::Cluster => Resource::with_companion(ty, name.clone(), body, name),
            EnvoyType::Listener => listener::of_bytes(name, body),
            _ => Resource::new(ty, name, body),
        };
        Self { ty, inputs, sources: None, resource }
    }

    fn key(&self) -> Key {
        (self.ty, self.resource.name().clone())
    }
}

// === impl Ledger ===

impl Ledger {
    /// Takes in what an earlier agent kept of a Plan.
    pub fn restore(&mut self, plan: Name, all: Vec<Accepted>) {
        let page = self.pages.entry(plan).or_default();
        for accepted in all {
            page.note_former(&accepted);
            page.lines.insert(accepted.key(), Line { accepted, pinned: true });
        }
    }

    /// The versions that were accepted last.
    pub fn accepted(&self) -> impl Iterator<Item = (Key, Version)> {
        let lines = self.pages.values().flat_map(|page| &page.lines);
        lines.map(|(key, line)| (key.clone(), line.accepted.resource.version()))
    }

    /// Whether a version of a Plan's resource was accepted.
    pub fn has_accepted(&self, plan: &str, key: &Key) -> bool {
        self.pages.get(plan).is_some_and(|page| page.lines.contains_key(key))
    }

    /// The Plans that something was accepted of.
    pub fn plans(&self) -> impl Iterator<Item = &Name> {
        self.pages.keys()
    }

    /// Puts what was accepted in the place of what would harm the proxy; true when there is something else to keep.
    pub fn amend(&mut self, plan: &Name, mut inputs: Inputs<'_>, made: &mut Contribution) -> bool {
        let page = self.pages.entry(plan.clone()).or_default();
        page.reinstate(&inputs, made);
        let held = page.hold(plan, made);
        page.note_backings(made, &held);
        let (refused, put_off) = (&self.refused, &self.put_off);
        let judged = |key: &Key, version| match refused.get(key) {
            _ if held.contains(key) => Some(false),
            Some(no) if no.version == version => Some(false),
            _ => (put_off.get(key) == Some(&version)).then_some(true),
        };
        inputs.held = backing::put_back(&page.left_behind(judged, &inputs, made), made);
        // These were not made from the present inputs, and give way as soon as something can be made from them.
        let held = page.with_clusters(held, &inputs);
        let mut changed = false;
        for (key, resource) in made.resources.iter_mut().filter(|(key, _)| !held.contains(*key)) {
            let refused = self.refused.get(key).is_some_and(|no| no.version == resource.version());
            let changes_its_mind = !refused && self.refused.remove(key).is_some();
            let made_version = resource.version();
            changed |= page.choose(key, &inputs, refused, resource);
            if resource.version() != made_version && refused {
                made.refused.insert(key.clone(), made_version);
            }
            if changes_its_mind && !page.offered.contains_key(key) {
                self.cleared.push(key.clone());
            }
        }
        let gone = |key: &Key| ResourceName::plan_of(&key.1) == &**plan && !made.resources.contains_key(key);
        self.refused.retain(|key, _| !gone(key));
        self.put_off.retain(|key, _| !gone(key));
        page.former.retain(|listener| made.resources.contains_key(&(EnvoyType::Listener, listener.clone())));
        let before = page.lines.len();
        page.lines.retain(|key, _| made.resources.contains_key(key));
        page.offered.retain(|key, _| made.resources.contains_key(key));
        changed | (page.lines.len() != before)
    }

    /// All that was accepted of a Plan, as it was, for when nothing better can be made; none: nothing.
    pub fn whole(&self, plan: &str) -> Option<Contribution> {
        let lines = &self.pages.get(plan)?.lines;
        let resources: BTreeMap<_, _> =
            lines.iter().map(|(key, line)| (key.clone(), line.accepted.resource.clone())).collect();
        (!resources.is_empty()).then(|| Contribution { resources, ..Contribution::default() })
    }

    /// The proxy refused a version of a listener for a cause that may pass.
    pub fn put_off(&mut self, key: Key, version: Version) {
        self.put_off.insert(key, version);
    }

    /// Whether this version was refused for now; it is not any more.
    pub fn take_put_off(&mut self, key: &Key, version: Version) -> bool {
        self.put_off.get(key) == Some(&version) && self.put_off.remove(key).is_some()
    }

    /// The proxy accepted a version; answers whether there is something else to keep.
    pub fn accept(&mut self, plan: &str, key: &Key, version: Version) -> bool {
        if self.refused.get(key).is_some_and(|no| no.version == version) {
            self.refused.remove(key);
        }
        let Some(page) = self.pages.get_mut(plan) else { return false };
        let Some(offered) = page.offered.get_mut(key) else { return false };
        let Some(at) = offered.iter().position(|one| one.resource.version() == version) else { return false };
        let accepted = offered.drain(..=at).next_back();
        if offered.is_empty() {
            page.offered.remove(key);
        }
        page.backings.remove(key);
        accepted.is_some_and(|accepted| {
            page.note_former(&accepted);
            page.lines.insert(key.clone(), Line { accepted, pinned: false });
            true
        })
    }

    /// The proxy refused a version for what is in it, in these words.
    pub fn refuse(&mut self, plan: &str, key: &Key, version: Version, text: &str) {
        self.refused.insert(key.clone(), Refusal { version, text: text.to_owned() });
        let Some(page) = self.pages.get_mut(plan) else { return };
        // What was good for an earlier process of this proxy is not for this one.
        page.lines.retain(|held, line| held != key || line.accepted.resource.version() != version);
        if let Some(offered) = page.offered.get_mut(key) {
            offered.retain(|one| one.resource.version() != version);
        }
    }

    /// Whether the newest version of a resource was refused.
    pub fn refused(&self, key: &Key) -> bool {
        self.refused.contains_key(key)
    }

    /// What is refused, with the proxy's words.
    pub fn refusals(&self) -> impl Iterator<Item = (Key, Version, String)> {
        self.refused.iter().map(|(key, no)| (key.clone(), no.version, no.text.clone()))
    }

    /// Takes the resources whose refusal is of the past without the proxy's word.
    pub fn take_cleared(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.cleared)
    }

    /// The proxy started anew: nothing is lost by sending what this agent makes.
    pub fn unpin(&mut self) {
        for page in self.pages.values_mut() {
            page.former = FormerNames::default();
            page.lines.values_mut().for_each(|line| line.pinned = false);
        }
    }

    /// The clusters of a Plan that the proxy knows by a former name.
    pub fn former_names(&self, name: &str, plan: &plan::Plan) -> BTreeMap<String, Name> {
        self.pages.get(name).map(|page| page.former.of(plan)).unwrap_or_default()
    }

    /// Forgets a Plan; true when something was kept of it.
    pub fn forget(&mut self, plan: &str) -> bool {
        let gone = self.pages.remove(plan);
        self.refused.retain(|(_, name), _| ResourceName::plan_of(name) != plan);
        self.put_off.retain(|(_, name), _| ResourceName::plan_of(name) != plan);
        gone.is_some_and(|page| !page.lines.is_empty())
    }

    /// What is to be kept of a Plan; empty: nothing.
    pub fn kept(&self, plan: &str) -> Vec<Accepted> {
        let lines = self.pages.get(plan).into_iter().flat_map(|page| page.lines.values());
        lines.map(|line| line.accepted.clone()).collect()
    }
}

// === impl Page ===

impl Page {
    fn note_former(&mut self, accepted: &Accepted) {
        if accepted.ty == EnvoyType::Listener {
            self.former.note(accepted.resource.name(), accepted.resource.body());
        }
    }

    /// Adds what the same inputs once gave and now do not.
    fn reinstate(&self, inputs: &Inputs<'_>, made: &mut Contribution) {
        // A name that an earlier agent didn't escape has given way to its escaped form, on the same port.
        let missing = self.lines.iter().filter(|(key, line)| {
            line.stays(inputs.hash)
                && !made.resources.contains_key(*key)
                && key.0 != EnvoyType::Endpoint
                && names::is_escaped(&key.1)
        });
        let missing: Vec<Key> = missing.map(|(key, _)| key.clone()).collect();
        for key in missing {
            let assignment = (EnvoyType::Endpoint, key.1.clone());
            for key in [key, assignment] {
                if let Some(line) = self.lines.get(&key) {
                    made.resources.entry(key).or_insert_with(|| line.accepted.resource.clone());
                }
            }
        }
    }

    /// Adds the listeners that can't be translated in the version that was accepted last; returns them.
    fn hold(&self, plan: &str, made: &mut Contribution) -> BTreeSet<Key> {
        let refused =
            made.remarks.iter().map(|remark| (EnvoyType::Listener, ResourceName::of(plan, &remark.at)));
        let held: BTreeSet<Key> = refused.filter(|key| self.lines.contains_key(key)).collect();
        for key in &held {
            made.resources.insert(key.clone(), self.lines[key].accepted.resource.clone());
        }
        held
    }

    /// Adds the clusters behind these listeners that are served as they were.
    fn with_clusters(&self, mut held: BTreeSet<Key>, inputs: &Inputs<'_>) -> BTreeSet<Key> {
        let backings = held.iter().filter_map(|key| self.backings.get(key));
        let clusters = backings.map(|backing| (EnvoyType::Cluster, backing.cluster.name().clone()));
        let clusters: Vec<Key> = clusters.filter(|key| inputs.holds(key)).collect();
        held.extend(clusters);
        held
    }

    /// Notes what stands behind the accepted listeners that are to be replaced or are `held`, and forgets it of all others.
    fn note_backings(&mut self, made: &Contribution, held: &BTreeSet<Key>) {
        let Self { lines, backings, .. } = self;
        let replaced = |key: &Key, new: &Arc<Resource>| {
            let old = &lines.get(key)?.accepted.resource;
            (old.version() != new.version() || held.contains(key)).then_some(old)
        };
        backings.retain(|key, _| made.resources.get(key).is_some_and(|new| replaced(key, new).is_some()));
        for (key, new) in made.resources.iter().filter(|((ty, _), _)| *ty == EnvoyType::Listener) {
            let Some(old) = replaced(key, new).filter(|_| !backings.contains_key(key)) else { continue };
            let Some(target) = listener::target(old.body()) else { continue };
            let line = |ty| lines.get(&(ty, target.clone())).map(|line: &Line| &line.accepted);
            if let (Some(cluster), Some(assignment)) = (line(EnvoyType::Cluster), line(EnvoyType::Endpoint)) {
                let (sources, cluster) = (cluster.sources, cluster.resource.clone());
                let backing = Backing { cluster, assignment: assignment.resource.clone(), sources };
                backings.insert(key.clone(), backing);
            }
        }
    }

    /// The listeners whose new version is refused, and whose cluster has moved on.
    fn left_behind(
        &self,
        refused: impl Fn(&Key, Version) -> Option<bool>,
        inputs: &Inputs<'_>,
        made: &Contribution,
    ) -> Vec<LeftBehind> {
        let moved_on = |backing: &Backing| {
            let key = (EnvoyType::Cluster, backing.cluster.name().clone());
            match (made.resources.get(&key), backing.sources, inputs.sources(&key)) {
                (None, ..) => true,
                (_, Some(then), Some(now)) => then != now,
                (Some(cluster), ..) => cluster.version() != backing.cluster.version(),
            }
        };
        let of = |(key, backing): (&Key, &Backing)| {
            let tried_again = refused(key, made.resources.get(key)?.version())?;
            let left = || LeftBehind { listener: key.1.clone(), backing: backing.clone(), tried_again };
            moved_on(backing).then(left)
        };
        self.backings.iter().filter_map(of).collect()
    }

    /// Decides between what was made and what was accepted; true when there is something else to keep.
    fn choose(
        &mut self,
        key: &Key,
        inputs: &Inputs<'_>,
        refused: bool,
        resource: &mut Arc<Resource>,
    ) -> bool {
        let assigned = key.0 == EnvoyType::Endpoint;
        if let Some(line) = self.lines.get_mut(key) {
            if refused || (line.stays(inputs.hash) && !assigned) {
                *resource = line.accepted.resource.clone();
            }
            if line.accepted.resource.version() == resource.version() {
                self.offered.remove(key);
                // Other inputs that come to the same: the proxy has them already.
                let held = inputs.holds(key) && inputs.sources(key) != line.accepted.sources;
                let anew = !refused && !assigned && (held || line.accepted.inputs != inputs.hash);
                if anew {
                    line.accepted.inputs = inputs.hash;
                    line.accepted.sources = inputs.sources(key);
                }
                return anew;
            }
        }
        if !refused {
            self.offer(key, inputs, resource);
        }
        false
    }

    fn offer(&mut self, key: &Key, inputs: &Inputs<'_>, resource: &Arc<Resource>) {
        let offered = self.offered.entry(key.clone()).or_default();
        if offered.last().is_some_and(|last| last.resource.version() == resource.version()) {
            return;
        }
        if offered.len() == OFFERED {
            offered.remove(0);
        }
        let (inputs, sources) = (inputs.hash, inputs.sources(key));
        offered.push(Accepted { ty: key.0, inputs, sources, resource: resource.clone() });
    }
}

// === impl Line ===

impl Line {
    fn stays(&self, inputs: u64) -> bool {
        self.pinned && self.accepted.inputs == inputs
    }
}
