//! The world's verbs about what was there before: what an earlier agent kept, and what proxies accept and refuse.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::{PlanType, plan};
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Name, Version};

use super::feed::Sent;
use super::inputs::Inputs;
use super::ledger::{Accepted, Ledger};
use super::{Contribution, Effects, Owner, ProxyId, World};
use crate::translate;
use portreeve_api::refs::ResourceName;

/// What is to be kept of an owner; empty: nothing any more.
pub type Unsaved = (Owner, Vec<Accepted>);

// === impl World ===

impl World {
    /// What a proxy accepted of a Plan, in an earlier agent's life. Comes before [`World::restore_feed`], which makes
    /// the proxies.
    pub fn restore_accepted(&mut self, (id, plan): Owner, all: Vec<Accepted>) {
        self.ledgers.entry(id).or_default().restore(plan, all);
    }

    /// The hub's resources as an earlier agent kept them, in one go; `complete`: they were all. Answers also with the
    /// errors of those that can't be decoded: they are left out.
    pub fn restore_feed(
        &mut self,
        kept: &BTreeMap<PlanType, Vec<Sent>>,
        complete: bool,
    ) -> (Effects, Vec<String>) {
        let (touched, errors) = self.feed.restore(kept, complete);
        (self.follow(touched), errors)
    }

    /// Whether the hub itself has said which NodeProxies there are.
    pub fn heard_node_proxies(&self) -> bool {
        self.feed.heard(PlanType::NodeProxy)
    }

    /// A proxy accepted these versions.
    pub fn accepted(&mut self, id: &ProxyId, ty: EnvoyType, resources: &[(Name, Version)]) {
        let Some(ledger) = self.ledgers.get_mut(id) else { return };
        let mut dirty = BTreeSet::new();
        for (name, version) in resources {
            let (plan, key) = (ResourceName::plan_of(name), (ty, name.clone()));
            if ledger.accept(plan, &key, *version) {
                self.unsaved.insert((id.clone(), plan.into()));
            }
            if ledger.take_put_off(&key, *version) {
                dirty.insert((id.clone(), Name::from(plan)));
            }
        }
        self.bring_up_to_date(dirty);
    }

    /// A proxy refused these versions of listeners for a cause that may pass: they are tried again, and until then the
    /// versions that it runs lead to the endpoints that they had.
    pub fn put_off(&mut self, id: &ProxyId, ty: EnvoyType, resources: &[(Name, Version)]) {
        let Some(ledger) = self.ledgers.get_mut(id).filter(|_| ty == EnvoyType::Listener) else { return };
        let mut dirty = BTreeSet::new();
        for (name, version) in resources {
            ledger.put_off((ty, name.clone()), *version);
            dirty.insert((id.clone(), Name::from(ResourceName::plan_of(name))));
        }
        self.bring_up_to_date(dirty);
    }

    /// A proxy refused these versions for what is in them: what it last accepted takes their place, until the
    /// translation is another. `text` are its words.
    pub fn refused(&mut self, id: &ProxyId, ty: EnvoyType, resources: &[(Name, Version)], text: &str) {
        if !matches!(ty, EnvoyType::Cluster | EnvoyType::Listener) {
            return;
        }
        let Some(ledger) = self.ledgers.get_mut(id) else { return };
        let mut dirty = BTreeSet::new();
        for (name, version) in resources {
            let plan = ResourceName::plan_of(name);
            ledger.refuse(plan, &(ty, name.clone()), *version, text);
            dirty.insert((id.clone(), Name::from(plan)));
        }
        self.unsaved.extend(dirty.clone());
        self.bring_up_to_date(dirty);
    }

    /// Whether a proxy runs on an earlier version of a resource because it refused the present one.
    pub fn is_refused(&self, id: &ProxyId, ty: EnvoyType, name: &Name) -> bool {
        self.ledgers.get(id).is_some_and(|ledger| ledger.refused(&(ty, name.clone())))
    }

    /// What a proxy refuses, with its words: it does not say so again on another stream, where it is sent what it
    /// accepted.
    pub fn refusals(&self, id: &ProxyId) -> impl Iterator<Item = ((EnvoyType, Name), Version, String)> {
        self.ledgers.get(id).into_iter().flat_map(Ledger::refusals)
    }

    /// Takes the refusals that are of the past, though the proxy has nothing new to accept.
    pub fn take_cleared(&mut self) -> Vec<(ProxyId, EnvoyType, Name)> {
        let ledgers = self.ledgers.iter_mut();
        let cleared = ledgers.flat_map(|(id, ledger)| {
            ledger.take_cleared().into_iter().map(|(ty, name)| (id.clone(), ty, name))
        });
        cleared.collect()
    }

    /// A proxy started anew and has nothing: it gets what this agent makes.
    pub fn restarted(&mut self, id: &ProxyId) {
        let Some(ledger) = self.ledgers.get_mut(id) else { return };
        ledger.unpin();
        let plans = ledger.plans().chain(self.feed.plans.keys());
        let dirty = plans.map(|plan| (id.clone(), plan.clone())).collect();
        self.bring_up_to_date(dirty);
    }

    /// Takes what is to be kept otherwise than at the last call.
    pub fn take_unsaved(&mut self) -> Vec<Unsaved> {
        let unsaved = std::mem::take(&mut self.unsaved);
        let kept = |owner: &Owner| self.ledgers.get(&owner.0).map(|ledger| ledger.kept(&owner.1));
        let taken = unsaved.into_iter().map(|owner| {
            let all = kept(&owner).unwrap_or_default();
            (owner, all)
        });
        taken.collect()
    }

    /// Whether a proxy accepted a version of this resource.
    pub(super) fn has_accepted(&self, (id, plan): &Owner, key: &(EnvoyType, Name)) -> bool {
        self.ledgers.get(id).is_some_and(|ledger| ledger.has_accepted(plan, key))
    }

    /// The names of a Plan's listeners of which a proxy accepted a version.
    pub(super) fn running(&self, owner: &Owner, plan: &plan::Plan) -> BTreeSet<String> {
        let key = |name: &String| (EnvoyType::Listener, ResourceName::of(&owner.1, name));
        let names = plan.listeners.iter().map(|listener| &listener.name);
        names.filter(|name| self.has_accepted(owner, &key(name))).cloned().collect()
    }

    /// The clusters of a Plan that a proxy knows by a former name.
    pub(super) fn former_names(&self, (id, name): &Owner, plan: &plan::Plan) -> BTreeMap<String, Name> {
        self.ledgers.get(id).map(|ledger| ledger.former_names(name, plan)).unwrap_or_default()
    }

    /// What was made of a Plan, with what the proxy accepted in the place of what would harm it.
    pub(super) fn amended(
        &mut self,
        owner: &Owner,
        request: &translate::Request<'_>,
        mut made: Contribution,
    ) -> Contribution {
        let inputs = Inputs::new(request, made.made_of.unwrap_or_default());
        let ledger = self.ledgers.entry(owner.0.clone()).or_default();
        if ledger.amend(&owner.1, inputs, &mut made) {
            self.unsaved.insert(owner.clone());
        }
        made
    }

    /// What a proxy last accepted of a Plan; nothing, if it is not known.
    pub(super) fn last_accepted(&self, (id, plan): &Owner) -> Contribution {
        self.ledgers.get(id).and_then(|ledger| ledger.whole(plan)).unwrap_or_default()
    }

    /// A Plan is not for this proxy any more.
    pub(super) fn forget_accepted(&mut self, owner: &Owner) {
        if self.ledgers.get_mut(&owner.0).is_some_and(|ledger| ledger.forget(&owner.1)) {
            self.unsaved.insert(owner.clone());
        }
    }

    /// What each proxy accepted last, in the life of an earlier agent too.
    pub fn all_accepted(&self) -> impl Iterator<Item = (&ProxyId, BTreeMap<(EnvoyType, Name), Version>)> {
        self.ledgers.iter().map(|(id, ledger)| (id, ledger.accepted().collect()))
    }

    /// The hub's first word on a type: what it does not know is gone, also for ledgers. Answers with the Plans of
    /// ledgers that are to be looked at.
    pub(super) fn confirm_ledgers(&mut self, ty: PlanType) -> BTreeSet<Name> {
        match ty {
            PlanType::Plan => self.ledgers.values().flat_map(Ledger::plans).cloned().collect(),
            PlanType::NodeProxy => {
                let known: BTreeSet<Name> = self.feed.proxies.keys().cloned().collect();
                self.keep_ledgers(|id| !matches!(id, ProxyId::Node(name) if !known.contains(name)));
                BTreeSet::new()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Forgets the ledgers of all others.
    pub(super) fn keep_ledgers(&mut self, keep: impl Fn(&ProxyId) -> bool) {
        for (id, ledger) in self.ledgers.extract_if(.., |id, _| !keep(id)) {
            self.unsaved.extend(ledger.plans().map(|plan| (id.clone(), plan.clone())));
        }
    }
}
