//! The world's verbs for restoring the stored state, and for saving it for the next agent.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::PlanType;
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use super::feed::Sent;
use super::{Effects, World};
use crate::claims::Owner;
use crate::fleet::Kept;

// === impl World ===

impl World {
    /// Restores what a proxy accepted of a Plan from an earlier agent. Must be called before
    /// [`World::restore_feed`], which creates the proxies. Returns `false` and restores nothing if the
    /// resource type or the kind of proxy is unknown, because a later agent version stored it.
    pub fn restore_accepted(&mut self, owner: Owner, all: &[Kept]) -> bool {
        let fleet = self.fleets.of_mut(owner.kind);
        fleet.is_some_and(|fleet| fleet.restore(owner.proxy, owner.plan, all))
    }

    /// Restores the `node.id` that a pod's proxy announced to an earlier agent. The hub goes on sending the Plans of
    /// this name until the proxy has connected again.
    pub fn restore_announced(&mut self, uid: Name, announced: String) {
        self.announced.insert(uid, announced);
    }

    /// Restores the hub's resources as an earlier agent stored them, all at once. `complete` tells whether
    /// the store held all of them. Returns the effects, and the errors of undecodable resources, which are
    /// left out.
    pub fn restore_feed(
        &mut self,
        kept: &BTreeMap<PlanType, Vec<Sent>>,
        complete: bool,
    ) -> (Effects, Vec<String>) {
        let (touched, errors) = self.feed.restore(kept, complete);
        (self.follow(touched), errors)
    }

    /// Returns whether the hub itself, not only the store, has sent the list of NodeProxies.
    pub fn heard_node_proxies(&self) -> bool {
        self.feed.heard(PlanType::NodeProxy)
    }

    /// Returns whether the hub itself, not only the store, has sent the complete list of every type.
    pub fn heard_all(&self) -> bool {
        self.feed.heard_all()
    }

    /// Returns the owners whose accepted resources changed since the last call; an empty list deletes the
    /// owner's entry.
    pub fn take_unsaved(&mut self) -> Vec<(Owner, Vec<Kept>)> {
        let mut all = Vec::new();
        for fleet in self.fleets.all_mut() {
            let kind = fleet.kind();
            let taken = fleet.take_unsaved().into_iter();
            all.extend(taken.map(|(proxy, plan, kept)| (Owner { kind, proxy, plan }, kept)));
        }
        all
    }

    /// Handles the hub's first response of a type: accepted resources of objects that it does not contain are
    /// forgotten. Returns the Plans with accepted resources, to be refreshed.
    pub(super) fn confirm_ledgers(&mut self, ty: PlanType) -> BTreeSet<Name> {
        match ty {
            PlanType::Plan => self.fleets.all().flat_map(|fleet| fleet.plans()).collect(),
            PlanType::NodeProxy => {
                let known: BTreeSet<Name> =
                    self.feed.wanted_proxies().map(|(name, _)| name.clone()).collect();
                self.keep_ledgers(|id| !matches!(id, ProxyId::Node(name) if !known.contains(name)));
                BTreeSet::new()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Forgets the ledgers of the proxies for which `keep` returns `false`.
    pub(super) fn keep_ledgers(&mut self, keep: impl Fn(&ProxyId) -> bool) {
        self.fleets.all_mut().for_each(|fleet| fleet.keep(&keep));
    }
}
