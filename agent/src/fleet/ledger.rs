//! What a proxy has accepted, byte for byte ([`Ledger`]), and what follows for what it is sent.
//!
//! Any change of a UDP listener or of its cluster makes Envoy forget all its sessions. So what an earlier agent sent
//! stays as it is, whatever this agent would make of the same inputs, until the inputs change or the proxy starts anew.
//! And what a proxy refuses gives way to what it last accepted.

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

/// What one proxy accepted and refused.
pub struct Ledger<T> {
    pages: BTreeMap<Name, Page<T>>,
    refused: BTreeMap<Key<T>, Refusal>,
    /// Refused for now: the session tries these versions again.
    put_off: BTreeMap<Key<T>, Version>,
    /// No longer refused, and nothing is sent for it: what was accepted is what is wanted again.
    cleared: Vec<Key<T>>,
}

/// A proxy's no to one version of a resource.
struct Refusal {
    version: Version,
    /// In its own words.
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
    /// Takes in what an earlier agent kept of a Plan.
    pub fn restore(&mut self, plan: Name, all: Vec<Accepted<T>>) {
        self.pages.entry(plan).or_default().restore(all);
    }

    /// The versions that were accepted last.
    pub fn accepted(&self) -> impl Iterator<Item = (Key<T>, Version)> {
        let all = self.pages.values().flat_map(Page::accepted);
        all.map(|accepted| (accepted.key(), accepted.resource.version()))
    }

    /// Whether a version of a Plan's resource was accepted.
    pub fn has_accepted(&self, plan: &str, key: &Key<T>) -> bool {
        self.pages.get(plan).is_some_and(|page| page.has(key))
    }

    /// The Plans that something was accepted of.
    pub fn plans(&self) -> impl Iterator<Item = &Name> {
        self.pages.keys()
    }

    /// Puts what was accepted in the place of what would harm the proxy; true when there is something else to keep.
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

    /// All that was accepted of a Plan, as it was, for when nothing better can be made; none: nothing.
    pub fn whole(&self, plan: &str) -> Option<Contribution<T>> {
        let accepted = self.pages.get(plan)?.accepted();
        let resources: BTreeMap<_, _> = accepted.map(|one| (one.key(), one.resource.clone())).collect();
        (!resources.is_empty()).then(|| Contribution { resources, ..Contribution::default() })
    }

    /// The proxy refused a version of a listener for a cause that may pass.
    pub fn put_off(&mut self, key: Key<T>, version: Version) {
        self.put_off.insert(key, version);
    }

    /// Whether this version was refused for now; it is not any more.
    pub fn take_put_off(&mut self, key: &Key<T>, version: Version) -> bool {
        self.put_off.get(key) == Some(&version) && self.put_off.remove(key).is_some()
    }

    /// The proxy accepted a version; answers whether there is something else to keep.
    pub fn accept(&mut self, plan: &str, key: &Key<T>, version: Version) -> bool {
        if self.refused.get(key).is_some_and(|no| no.version == version) {
            self.refused.remove(key);
        }
        self.pages.get_mut(plan).is_some_and(|page| page.accept(key, version))
    }

    /// The proxy refused a version for what is in it, in these words.
    pub fn refuse(&mut self, plan: &str, key: &Key<T>, version: Version, text: &str) {
        self.refused.insert(key.clone(), Refusal { version, text: text.to_owned() });
        if let Some(page) = self.pages.get_mut(plan) {
            page.refuse(key, version);
        }
    }

    /// Whether the newest version of a resource was refused.
    pub fn refused(&self, key: &Key<T>) -> bool {
        self.refused.contains_key(key)
    }

    /// What is refused, with the proxy's words.
    pub fn refusals(&self) -> impl Iterator<Item = (Key<T>, Version, String)> {
        self.refused.iter().map(|(key, no)| (key.clone(), no.version, no.text.clone()))
    }

    /// Takes the resources whose refusal is of the past without the proxy's word.
    pub fn take_cleared(&mut self) -> Vec<Key<T>> {
        std::mem::take(&mut self.cleared)
    }

    /// The proxy started anew: nothing is lost by sending what this agent makes.
    pub fn unpin(&mut self) {
        self.pages.values_mut().for_each(Page::unpin);
    }

    /// The clusters of a Plan that the proxy knows by a former name.
    pub fn former_names(&self, name: &str, plan: &Plan) -> BTreeMap<String, Name> {
        self.pages.get(name).map(|page| page.former_names(plan)).unwrap_or_default()
    }

    /// Forgets a Plan; true when something was kept of it.
    pub fn forget(&mut self, plan: &str) -> bool {
        let gone = self.pages.remove(plan);
        self.refused.retain(|(_, name), _| ResourceName::plan_of(name) != plan);
        self.put_off.retain(|(_, name), _| ResourceName::plan_of(name) != plan);
        gone.is_some_and(|page| page.accepted().next().is_some())
    }

    /// What is to be kept of a Plan; empty: nothing.
    pub fn kept(&self, plan: &str) -> Vec<Kept> {
        self.pages.get(plan).into_iter().flat_map(Page::accepted).filter_map(Accepted::kept).collect()
    }
}
