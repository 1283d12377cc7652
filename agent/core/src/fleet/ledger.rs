//! The resources that a proxy accepted, byte for byte ([`Ledger`]), and the choice of what it is sent.
//!
//! Envoy drops all sessions of a UDP listener when the listener or its cluster changes. So a resource that an
//! earlier agent sent stays unchanged until its inputs change or the proxy restarts, even if this agent would
//! translate the same inputs differently. A rejected resource is replaced with the last accepted version.

use std::collections::BTreeMap;

use portreeve_api::model::Plan;
use portreeve_api::refs::ResourceName;
use portreeve_xds::{Name, Version};

use super::accepted::{Accepted, Kept};
use super::backing;
use super::contribution::Contribution;
use super::inputs::Inputs;
use super::page::{Key, Page};
use crate::translate::ProxyModel;

/// The resources that one proxy accepted and rejected.
pub struct Ledger<T> {
    pages: BTreeMap<Name, Page<T>>,
    refused: BTreeMap<Key<T>, Refusal>,
    /// Versions with a transient rejection. The session sends them again.
    put_off: BTreeMap<Key<T>, Version>,
    /// Resources that are no longer rejected although nothing is sent: the wanted version is the accepted one
    /// again.
    cleared: Vec<Key<T>>,
}

/// A proxy's rejection of one version of a resource.
struct Refusal {
    version: Version,
    /// The proxy's error message.
    text: String,
}

// === impl Ledger ===

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        let (pages, refused, put_off) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { pages, refused, put_off, cleared: Vec::new() }
    }
}

impl<T: ProxyModel> Ledger<T> {
    /// Restores what an earlier agent stored for a Plan.
    pub fn restore(&mut self, plan: Name, all: Vec<Accepted<T>>) {
        self.pages.entry(plan).or_default().restore(all);
    }

    /// Returns the last accepted version of each resource.
    pub fn accepted(&self) -> impl Iterator<Item = (Key<T>, Version)> {
        let all = self.pages.values().flat_map(Page::accepted);
        all.map(|accepted| (accepted.key(), accepted.resource.version()))
    }

    /// Returns whether the proxy accepted any version of a Plan's resource.
    pub fn has_accepted(&self, plan: &str, key: &Key<T>) -> bool {
        self.pages.get(plan).is_some_and(|page| page.has(key))
    }

    /// Returns the Plans with recorded resources.
    pub fn plans(&self) -> impl Iterator<Item = &Name> {
        self.pages.keys()
    }

    /// Replaces resources in `made` with accepted versions where a change would end sessions or was rejected.
    /// Returns `true` if the Plan must be stored again.
    pub fn amend(&mut self, plan: &Name, mut inputs: Inputs<'_>, made: &mut Contribution<T>) -> bool {
        let page = self.pages.entry(plan.clone()).or_default();
        page.reinstate(&inputs, made);
        let held = page.hold(plan, made);
        page.note_backings(made, &held);
        let (refused, put_off) = (&self.refused, &self.put_off);
        let judged = |key: &Key<T>, version| match refused.get(key) {
            _ if held.contains(key) => Some(false),
            Some(no) if no.version == version => Some(false),
            _ => (put_off.get(key) == Some(&version)).then_some(true),
        };
        inputs.held = backing::put_back(&page.left_behind(judged, &inputs, made), made);
        // The held resources were not made from the present inputs. They are not recorded under these inputs,
        // so that a new translation replaces them.
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
            if changes_its_mind && !page.awaits(key) {
                self.cleared.push(key.clone());
            }
        }
        let gone =
            |key: &Key<T>| ResourceName::plan_of(&key.1) == &**plan && !made.resources.contains_key(key);
        self.refused.retain(|key, _| !gone(key));
        self.put_off.retain(|key, _| !gone(key));
        changed | page.prune(made)
    }

    /// Returns all accepted resources of a Plan, for when the Plan can't be translated; `None` if there are
    /// none.
    pub fn whole(&self, plan: &str) -> Option<Contribution<T>> {
        let accepted = self.pages.get(plan)?.accepted();
        let resources: BTreeMap<_, _> = accepted.map(|one| (one.key(), one.resource.clone())).collect();
        (!resources.is_empty()).then(|| Contribution { resources, ..Contribution::default() })
    }

    /// Records a transient rejection of a listener's version.
    pub fn put_off(&mut self, key: Key<T>, version: Version) {
        self.put_off.insert(key, version);
    }

    /// Removes the transient rejection of this version. Returns whether there was one.
    pub fn take_put_off(&mut self, key: &Key<T>, version: Version) -> bool {
        self.put_off.get(key) == Some(&version) && self.put_off.remove(key).is_some()
    }

    /// Records an ACK. Returns `true` if the Plan must be stored again.
    pub fn accept(&mut self, plan: &str, key: &Key<T>, version: Version) -> bool {
        if self.refused.get(key).is_some_and(|no| no.version == version) {
            self.refused.remove(key);
        }
        self.pages.get_mut(plan).is_some_and(|page| page.accept(key, version))
    }

    /// Records a rejection of a version's content, with the proxy's error message.
    pub fn refuse(&mut self, plan: &str, key: &Key<T>, version: Version, text: &str) {
        self.refused.insert(key.clone(), Refusal { version, text: text.to_owned() });
        if let Some(page) = self.pages.get_mut(plan) {
            page.refuse(key, version);
        }
    }

    /// Returns whether the newest version of a resource was rejected.
    pub fn refused(&self, key: &Key<T>) -> bool {
        self.refused.contains_key(key)
    }

    /// Returns the rejected versions, each with the proxy's error message.
    pub fn refusals(&self) -> impl Iterator<Item = (Key<T>, Version, String)> {
        self.refused.iter().map(|(key, no)| (key.clone(), no.version, no.text.clone()))
    }

    /// Returns and clears the resources whose rejection ended without a new ACK.
    pub fn take_cleared(&mut self) -> Vec<Key<T>> {
        std::mem::take(&mut self.cleared)
    }

    /// Unpins all resources after a restart of the proxy: it has no sessions that a change could end.
    pub fn unpin(&mut self) {
        self.pages.values_mut().for_each(Page::unpin);
    }

    /// Returns the clusters of a Plan that the proxy knows by a former name.
    pub fn former_names(&self, name: &str, plan: &Plan) -> BTreeMap<String, Name> {
        self.pages.get(name).map(|page| page.former_names(plan)).unwrap_or_default()
    }

    /// Forgets a Plan. Returns `true` if the store holds something for it.
    pub fn forget(&mut self, plan: &str) -> bool {
        let gone = self.pages.remove(plan);
        self.refused.retain(|(_, name), _| ResourceName::plan_of(name) != plan);
        self.put_off.retain(|(_, name), _| ResourceName::plan_of(name) != plan);
        gone.is_some_and(|page| page.accepted().next().is_some())
    }

    /// Returns what to store for a Plan; empty if nothing is.
    pub fn kept(&self, plan: &str) -> Vec<Kept> {
        self.pages.get(plan).into_iter().flat_map(Page::accepted).filter_map(Accepted::kept).collect()
    }
}
