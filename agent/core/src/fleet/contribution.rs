//! A Plan's part of a proxy's configuration ([`Contribution`]), and its findings for status and log
//! ([`Findings`]), which do not depend on the kind of proxy.

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
    /// Resources that refer to a secret which this agent doesn't have, because it was restarted and secrets are not stored,
    /// and the listeners that route to them. A proxy that runs them keeps them, with its own copy of the secret. Others are
    /// not sent them: a starting proxy would wait for the secret and hold back its other listeners.
    pub withheld: BTreeSet<(T, Name)>,
    /// Rejected versions. For these resources, `resources` holds the last accepted version.
    pub refused: BTreeMap<(T, Name), Version>,
    /// Findings for status and log.
    pub findings: Findings,
}

/// The findings of translating one Plan for one proxy.
#[derive(Clone, Default)]
pub struct Findings {
    /// Parts of the Plan that could not be expressed.
    pub remarks: Vec<Remark>,
    /// Listeners that lost their port to another listener.
    pub denied: BTreeMap<String, Denied>,
    /// Listeners whose ports are held by processes that are not proxies of this node.
    pub taken: BTreeMap<String, Taken>,
    /// The version of the Plan that was translated.
    pub made_of: Option<Version>,
    /// Endpoint counts of the Plan's clusters.
    pub census: Census,
}

// === impl Findings ===

impl Findings {
    /// Returns the listeners that can't be served, each with the reason.
    pub fn faults(&self) -> BTreeSet<(String, String)> {
        let lost = self.denied.iter().map(|(listener, lost)| (listener.clone(), lost.to_string()));
        let taken = self.taken().map(|(listener, text)| (listener.clone(), text));
        lost.chain(self.remarks.iter().map(|r| (r.at.clone(), r.text.clone()))).chain(taken).collect()
    }

    /// Returns the listeners whose ports are known to be held by other processes, each with the reason.
    pub fn taken(&self) -> impl Iterator<Item = (&String, String)> {
        let certain = self.taken.iter().filter(|(_, one)| !one.by.unsure);
        certain.map(|(listener, one)| (listener, one.to_string()))
    }
}

// === impl Contribution ===

impl<T> Default for Contribution<T> {
    fn default() -> Self {
        let (resources, withheld, refused) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { resources, withheld, refused, findings: Findings::default() }
    }
}

impl<T: ProxyModel> Contribution<T> {
    /// Builds the contribution of a finished translation.
    pub fn of(done: Translation<T>) -> Self {
        let resources = done.outputs.into_iter().map(|(ty, r)| ((ty, r.name().clone()), r)).collect();
        let findings = Findings { remarks: done.remarks, census: done.census, ..Findings::default() };
        Self { resources, findings, ..Self::default() }
    }

    /// Returns the version of a resource that the Plan asks for, even if the proxy rejected it.
    pub fn wanted(&self, key: &(T, Name)) -> Option<Version> {
        self.refused.get(key).copied().or_else(|| self.resources.get(key).map(|resource| resource.version()))
    }

    /// Moves resources to `withheld` whose secrets are not here.
    pub fn withhold(&mut self) {
        let lacks = |ty: T, body: &[u8]| ty.secrets(body).iter().any(|key| !self.resources.contains_key(key));
        let lacking = self.resources.iter().filter(|((ty, _), resource)| lacks(*ty, resource.body()));
        let lacking: BTreeSet<_> = lacking.map(|(key, _)| key.clone()).collect();
        if lacking.is_empty() {
            return;
        }
        self.withheld = lacking;
        let leads = |body: &[u8]| T::target(body).is_some_and(|to| self.withheld.contains(&(T::CLUSTER, to)));
        let leading = self.resources.iter().filter(|((ty, _), one)| *ty == T::LISTENER && leads(one.body()));
        let leading: Vec<_> = leading.map(|(key, _)| key.clone()).collect();
        self.withheld.extend(leading);
        self.resources.retain(|key, _| !self.withheld.contains(key));
    }

    /// Removes the listeners that can't have their port. Used while the Plan can't be translated; a
    /// translation leaves them out itself.
    pub fn deny(&mut self, plan: &Plan, denied: BTreeMap<String, Denied>, taken: BTreeMap<String, Taken>) {
        for listener in denied.keys().chain(held_back(&taken)) {
            let key = (T::LISTENER, translate::qualified(plan, listener));
            self.resources.remove(&key);
            self.withheld.remove(&key);
        }
        (self.findings.denied, self.findings.taken) = (denied, taken);
    }

    /// Returns whether there are no resources, not even withheld ones, and no findings.
    pub fn is_empty(&self) -> bool {
        let Findings { remarks, denied, taken, .. } = &self.findings;
        let nothing = self.resources.is_empty() && self.withheld.is_empty();
        nothing && denied.is_empty() && taken.is_empty() && remarks.is_empty()
    }

    /// Returns the names of resources that `other` lacks.
    pub fn missing_in(&self, other: &Self) -> BTreeSet<(T, Name)> {
        self.resources.keys().filter(|k| !other.resources.contains_key(*k)).cloned().collect()
    }

    /// Returns the resources that `before` lacks or has in another version.
    pub fn new_since(&self, before: &Self) -> Vec<(T, Arc<Resource>)> {
        let differs = |(key, r): &(&(T, Name), &Arc<Resource>)| {
            before.resources.get(*key).is_none_or(|old| old.version() != r.version())
        };
        self.resources.iter().filter(differs).map(|(key, r)| (key.0, r.clone())).collect()
    }
}
