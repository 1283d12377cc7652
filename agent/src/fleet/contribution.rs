//! A Plan's part of a proxy's configuration ([`Contribution`]), and what it tells without regard to the kind of proxy
//! ([`Findings`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portreeve_api::model::Plan;
use portreeve_xds::{Name, Resource, Version};

use crate::claims::Denied;
use crate::claims::strangers::{Taken, held_back};
use crate::translate::{self, Census, ProxyModel, Remark, Translation};

/// A Plan's part of a proxy's configuration.
#[derive(Clone)]
pub struct Contribution<T> {
    /// Resources by type and name.
    pub resources: BTreeMap<(T, Name), Arc<Resource>>,
    /// Versions that the proxy refused: `resources` holds what it accepted last.
    pub refused: BTreeMap<(T, Name), Version>,
    /// What it tells.
    pub findings: Findings,
}

/// What is told of a Plan's part of a proxy.
#[derive(Clone, Default)]
pub struct Findings {
    /// What could not be expressed.
    pub remarks: Vec<Remark>,
    /// Listeners that lost their port.
    pub denied: BTreeMap<String, Denied>,
    /// Listeners whose ports are in use by processes that are none of this node's proxies.
    pub taken: BTreeMap<String, Taken>,
    /// The version of the Plan that it was made from.
    pub made_of: Option<Version>,
    /// The endpoints of its clusters.
    pub census: Census,
}

// === impl Findings ===

impl Findings {
    /// The listeners that could not be had, each with the reason in words.
    pub fn faults(&self) -> BTreeSet<(String, String)> {
        let lost = self.denied.iter().map(|(listener, lost)| (listener.clone(), lost.to_string()));
        let taken = self.taken().map(|(listener, text)| (listener.clone(), text));
        lost.chain(self.remarks.iter().map(|r| (r.at.clone(), r.text.clone()))).chain(taken).collect()
    }

    /// The listeners whose ports are certainly in use by others, each with the reason in words.
    pub fn taken(&self) -> impl Iterator<Item = (&String, String)> {
        let certain = self.taken.iter().filter(|(_, one)| !one.by.unsure);
        certain.map(|(listener, one)| (listener, one.to_string()))
    }
}

// === impl Contribution ===

impl<T> Default for Contribution<T> {
    fn default() -> Self {
        Self { resources: BTreeMap::new(), refused: BTreeMap::new(), findings: Findings::default() }
    }
}

impl<T: ProxyModel> Contribution<T> {
    /// What a translation contributes.
    pub fn of(done: Translation<T>) -> Self {
        let resources = done.outputs.into_iter().map(|(ty, r)| ((ty, r.name().clone()), r)).collect();
        let findings = Findings { remarks: done.remarks, census: done.census, ..Findings::default() };
        Self { resources, findings, ..Self::default() }
    }

    /// The version of a resource that the Plan asks for, also where the proxy refused it.
    pub fn wanted(&self, key: &(T, Name)) -> Option<Version> {
        self.refused.get(key).copied().or_else(|| self.resources.get(key).map(|resource| resource.version()))
    }

    /// Takes the listeners away that can't have their port, while nothing else can be said.
    pub fn deny(&mut self, plan: &Plan, denied: BTreeMap<String, Denied>, taken: BTreeMap<String, Taken>) {
        for listener in denied.keys().chain(held_back(&taken)) {
            self.resources.remove(&(T::LISTENER, translate::qualified(plan, listener)));
        }
        (self.findings.denied, self.findings.taken) = (denied, taken);
    }

    /// Whether there is nothing to hold or to tell.
    pub fn is_empty(&self) -> bool {
        let Findings { remarks, denied, taken, .. } = &self.findings;
        self.resources.is_empty() && denied.is_empty() && taken.is_empty() && remarks.is_empty()
    }

    /// Names of this one's resources that another lacks.
    pub fn missing_in(&self, other: &Self) -> BTreeSet<(T, Name)> {
        self.resources.keys().filter(|k| !other.resources.contains_key(*k)).cloned().collect()
    }

    /// This one's resources that another has not, or not in this version.
    pub fn new_since(&self, before: &Self) -> Vec<(T, Arc<Resource>)> {
        let differs = |(key, r): &(&(T, Name), &Arc<Resource>)| {
            before.resources.get(*key).is_none_or(|old| old.version() != r.version())
        };
        self.resources.iter().filter(differs).map(|(key, r)| (key.0, r.clone())).collect()
    }
}
