//! The world's verbs about what was there before: what an earlier agent kept, and what the next one is to find.

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
    /// What a proxy accepted of a Plan, in an earlier agent's life. Comes before [`World::restore_feed`], which makes
    /// the proxies. Returns `false`, and takes nothing, if a later version of the agent kept it: in a type of resource or for
    /// a kind of proxy that this one does not know.
    pub fn restore_accepted(&mut self, owner: Owner, all: &[Kept]) -> bool {
        let fleet = self.fleets.of_mut(owner.kind);
        fleet.is_some_and(|fleet| fleet.restore(owner.proxy, owner.plan, all))
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

    /// Takes what is to be kept of each owner otherwise than at the last call; empty: nothing any more.
    pub fn take_unsaved(&mut self) -> Vec<(Owner, Vec<Kept>)> {
        let mut all = Vec::new();
        for fleet in self.fleets.all_mut() {
            let kind = fleet.kind();
            let taken = fleet.take_unsaved().into_iter();
            all.extend(taken.map(|(proxy, plan, kept)| (Owner { kind, proxy, plan }, kept)));
        }
        all
    }

    /// The hub's first word on a type: what it does not know is gone, also for ledgers. Answers with the Plans of
    /// ledgers that are to be looked at.
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

    /// Forgets the ledgers of all others.
    pub(super) fn keep_ledgers(&mut self, keep: impl Fn(&ProxyId) -> bool) {
        self.fleets.all_mut().for_each(|fleet| fleet.keep(&keep));
    }
}
