//! The resources that a proxy accepted of one Plan ([`Page`]), and the choice between those and the new
//! translation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portreeve_api::model::Plan;
use portreeve_api::names;
use portreeve_api::refs::ResourceName;
use portreeve_xds::{Name, Resource, Version};

use super::accepted::Accepted;
use super::backing::{Backing, LeftBehind};
use super::contribution::Contribution;
use super::former::FormerNames;
use super::inputs::Inputs;
use crate::translate::ProxyModel;

/// A resource's type and name.
pub type Key<T> = (T, Name);

/// Maximum number of unanswered versions of one resource. A proxy has at most four responses to answer.
const OFFERED: usize = 4;

/// The accepted and offered resources of one Plan.
pub struct Page<T> {
    lines: BTreeMap<Key<T>, Line<T>>,
    /// Versions in the view that are neither accepted nor rejected yet, oldest first.
    offered: BTreeMap<Key<T>, Vec<Accepted<T>>>,
    /// The clusters and assignments behind accepted listeners that are about to be replaced.
    backings: BTreeMap<Key<T>, Backing>,
    former: FormerNames,
}

struct Line<T> {
    accepted: Accepted<T>,
    /// An earlier agent sent this resource. It stays unchanged while its inputs do.
    pinned: bool,
}

// === impl Page ===

impl<T> Default for Page<T> {
    fn default() -> Self {
        let (lines, offered, backings) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { lines, offered, backings, former: FormerNames::default() }
    }
}

impl<T: ProxyModel> Page<T> {
    /// Restores what an earlier agent stored.
    pub fn restore(&mut self, all: Vec<Accepted<T>>) {
        for accepted in all {
            self.note_former(&accepted);
            self.lines.insert(accepted.key(), Line { accepted, pinned: true });
        }
    }

    /// Returns the accepted resources.
    pub fn accepted(&self) -> impl Iterator<Item = &Accepted<T>> {
        self.lines.values().map(|line| &line.accepted)
    }

    /// Returns whether the proxy accepted any version of a resource.
    pub fn has(&self, key: &Key<T>) -> bool {
        self.lines.contains_key(key)
    }

    /// Returns whether a version of a resource is unanswered.
    pub fn awaits(&self, key: &Key<T>) -> bool {
        self.offered.contains_key(key)
    }

    /// Records an ACK. Returns `true` if the Plan must be stored again.
    pub fn accept(&mut self, key: &Key<T>, version: Version) -> bool {
        let Some(offered) = self.offered.get_mut(key) else { return false };
        let Some(at) = offered.iter().position(|one| one.resource.version() == version) else { return false };
        let accepted = offered.drain(..=at).next_back();
        if offered.is_empty() {
            self.offered.remove(key);
        }
        self.backings.remove(key);
        accepted.is_some_and(|accepted| {
            self.note_former(&accepted);
            self.lines.insert(key.clone(), Line { accepted, pinned: false });
            true
        })
    }

    /// Records a rejection.
    pub fn refuse(&mut self, key: &Key<T>, version: Version) {
        // An earlier process of this proxy may have accepted the version that this process rejects.
        self.lines.retain(|held, line| held != key || line.accepted.resource.version() != version);
        if let Some(offered) = self.offered.get_mut(key) {
            offered.retain(|one| one.resource.version() != version);
        }
    }

    /// Unpins all resources after a restart of the proxy: it has no sessions that a change could end.
    pub fn unpin(&mut self) {
        self.former = FormerNames::default();
        self.lines.values_mut().for_each(|line| line.pinned = false);
    }

    /// Returns the clusters of a Plan that the proxy knows by a former name.
    pub fn former_names(&self, plan: &Plan) -> BTreeMap<String, Name> {
        self.former.of(plan)
    }

    /// Forgets resources that are not in `made`. Returns `true` if the Plan must be stored again.
    pub fn prune(&mut self, made: &Contribution<T>) -> bool {
        self.former.retain(|listener| made.resources.contains_key(&(T::LISTENER, listener.clone())));
        let before = self.lines.len();
        self.lines.retain(|key, _| made.resources.contains_key(key));
        self.offered.retain(|key, _| made.resources.contains_key(key));
        self.lines.len() != before
    }

    fn note_former(&mut self, accepted: &Accepted<T>) {
        if accepted.ty == T::LISTENER {
            self.former.note(accepted.resource.name(), T::target(accepted.resource.body()));
        }
    }

    /// Adds accepted resources that the same inputs produced in an earlier agent and no longer produce.
    pub fn reinstate(&self, inputs: &Inputs<'_>, made: &mut Contribution<T>) {
        // Earlier agents did not escape some names. The escaped name now serves the same port, so the
        // unescaped one is left out.
        let missing = self.lines.iter().filter(|(key, line)| {
            line.stays(inputs.of(key))
                && !made.resources.contains_key(*key)
                && key.0 != T::ASSIGNMENT
                && names::is_escaped(&key.1)
        });
        let missing: Vec<Key<T>> = missing.map(|(key, _)| key.clone()).collect();
        for key in missing {
            let assignment = (T::ASSIGNMENT, key.1.clone());
            for key in [key, assignment] {
                if let Some(line) = self.lines.get(&key) {
                    made.resources.entry(key).or_insert_with(|| line.accepted.resource.clone());
                }
            }
        }
    }

    /// Adds the last accepted versions of the listeners that can't be translated. Returns their keys.
    pub fn hold(&self, plan: &str, made: &mut Contribution<T>) -> BTreeSet<Key<T>> {
        let refused =
            made.findings.remarks.iter().map(|remark| (T::LISTENER, ResourceName::of(plan, &remark.at)));
        let held: BTreeSet<Key<T>> = refused.filter(|key| self.lines.contains_key(key)).collect();
        for key in &held {
            made.resources.insert(key.clone(), self.lines[key].accepted.resource.clone());
        }
        held
    }

    /// Adds to `held` those listeners' clusters that are served in their earlier version.
    pub fn with_clusters(&self, mut held: BTreeSet<Key<T>>, inputs: &Inputs<'_>) -> BTreeSet<Key<T>> {
        let backings = held.iter().filter_map(|key| self.backings.get(key));
        let clusters = backings.map(|backing| (T::CLUSTER, backing.cluster.name().clone()));
        let clusters: Vec<Key<T>> = clusters.filter(|key| inputs.holds(key)).collect();
        held.extend(clusters);
        held
    }

    /// Records the cluster and assignment behind each accepted listener that is about to be replaced or is
    /// `held`. Removes the records of all other listeners.
    pub fn note_backings(&mut self, made: &Contribution<T>, held: &BTreeSet<Key<T>>) {
        let Self { lines, backings, .. } = self;
        let replaced = |key: &Key<T>, new: &Arc<Resource>| {
            let old = &lines.get(key)?.accepted.resource;
            (old.version() != new.version() || held.contains(key)).then_some(old)
        };
        backings.retain(|key, _| made.resources.get(key).is_some_and(|new| replaced(key, new).is_some()));
        for (key, new) in made.resources.iter().filter(|((ty, _), _)| *ty == T::LISTENER) {
            let Some(old) = replaced(key, new).filter(|_| !backings.contains_key(key)) else { continue };
            let Some(target) = T::target(old.body()) else { continue };
            let line = |ty| lines.get(&(ty, target.clone())).map(|line: &Line<T>| &line.accepted);
            if let (Some(cluster), Some(assignment)) = (line(T::CLUSTER), line(T::ASSIGNMENT)) {
                let (sources, cluster) = (cluster.sources, cluster.resource.clone());
                let backing = Backing { cluster, assignment: assignment.resource.clone(), sources };
                backings.insert(key.clone(), backing);
            }
        }
    }

    /// Returns the listeners whose new version is rejected and whose cluster has changed.
    pub fn left_behind(
        &self,
        refused: impl Fn(&Key<T>, Version) -> Option<bool>,
        inputs: &Inputs<'_>,
        made: &Contribution<T>,
    ) -> Vec<LeftBehind> {
        let moved_on = |backing: &Backing| {
            let key = (T::CLUSTER, backing.cluster.name().clone());
            match (made.resources.get(&key), backing.sources, inputs.sources(&key)) {
                (None, ..) => true,
                (_, Some(then), Some(now)) => then != now,
                (Some(cluster), ..) => cluster.version() != backing.cluster.version(),
            }
        };
        let of = |(key, backing): (&Key<T>, &Backing)| {
            let tried_again = refused(key, made.resources.get(key)?.version())?;
            let left = || LeftBehind { listener: key.1.clone(), backing: backing.clone(), tried_again };
            moved_on(backing).then(left)
        };
        self.backings.iter().filter_map(of).collect()
    }

    /// Chooses between the new translation and the accepted version of a resource. Returns `true` if the Plan
    /// must be stored again.
    pub fn choose(
        &mut self,
        key: &Key<T>,
        inputs: &Inputs<'_>,
        refused: bool,
        resource: &mut Arc<Resource>,
    ) -> bool {
        let assigned = key.0 == T::ASSIGNMENT;
        if let Some(line) = self.lines.get_mut(key) {
            if refused || (line.stays(inputs.of(key)) && !assigned) {
                *resource = line.accepted.resource.clone();
            }
            if line.accepted.resource.version() == resource.version() {
                self.offered.remove(key);
                // The inputs changed and the bytes did not: the proxy has them already, so only the record
                // changes.
                let held = inputs.holds(key) && inputs.sources(key) != line.accepted.sources;
                let anew = !refused && !assigned && (held || line.accepted.inputs != inputs.of(key));
                if anew {
                    line.accepted.inputs = inputs.of(key);
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

    fn offer(&mut self, key: &Key<T>, inputs: &Inputs<'_>, resource: &Arc<Resource>) {
        let offered = self.offered.entry(key.clone()).or_default();
        if offered.last().is_some_and(|last| last.resource.version() == resource.version()) {
            return;
        }
        if offered.len() == OFFERED {
            offered.remove(0);
        }
        let (inputs, sources) = (inputs.of(key), inputs.sources(key));
        offered.push(Accepted { ty: key.0, inputs, sources, resource: resource.clone() });
    }
}

// === impl Line ===

impl<T> Line<T> {
    fn stays(&self, inputs: u64) -> bool {
        self.pinned && self.accepted.inputs == inputs
    }
}
