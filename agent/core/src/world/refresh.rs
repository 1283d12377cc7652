//! Refreshes proxies after a change of the world, including those whose ports the change frees or takes.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::PlanType;
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use super::World;
use super::floating::floating;
use super::known::Known;
use super::strangers::HOST;
use crate::claims::Owner;
use crate::fleet::Surroundings;
use crate::translate::ProxyKind;

// === impl World ===

impl World {
    /// Refreshes these Plans on every proxy.
    pub(super) fn refresh(&mut self, plans: BTreeSet<Name>) {
        let mut dirty = BTreeSet::new();
        for fleet in self.fleets.all() {
            let kind = fleet.kind();
            for proxy in fleet.ids() {
                let owner = |plan: &Name| Owner { kind, proxy: proxy.clone(), plan: plan.clone() };
                dirty.extend(plans.iter().map(owner));
            }
        }
        self.bring_up_to_date(dirty);
    }

    /// Refreshes these owners, and those whose ports they free or take.
    pub(super) fn bring_up_to_date(&mut self, mut dirty: BTreeSet<Owner>) {
        // All claims come first. Otherwise a translation could see a port as taken that the same change
        // frees.
        for owner in dirty.clone() {
            dirty.extend(self.claim(&owner));
        }
        let mut by_kind: BTreeMap<ProxyKind, BTreeSet<(ProxyId, Name)>> = BTreeMap::new();
        for Owner { kind, proxy, plan } in dirty {
            by_kind.entry(kind).or_default().insert((proxy, plan));
        }
        let Self { feed, hosts, health, claims, strangers, news, touched, .. } = self;
        let stale_but = self.stale.then_some(&*self.node);
        let known = Known { feed, hosts, health, host: self.host_families, stale_but };
        let mut around = Surroundings {
            plans: &feed.plans,
            versions: &feed.in_force,
            refused: &feed.refused,
            routers: &feed.routers,
            heard: feed.heard(PlanType::Plan),
            lookup: &known,
            claims,
            strangers,
            defaults: self.defaults,
            news,
            touched,
        };
        for (kind, dirty) in by_kind {
            if let Some(fleet) = self.fleets.of_mut(kind) {
                fleet.refresh(dirty, &mut around);
            }
        }
    }

    fn claim(&mut self, owner: &Owner) -> BTreeSet<Owner> {
        let facts = self.fleets.of(owner.kind).and_then(|fleet| fleet.facts(&owner.proxy));
        let wanted = match (facts, self.feed.plans.get(&owner.plan)) {
            (Some(facts), Some(plan)) if facts.takes(plan) => {
                let on_host = Some(plan).filter(|_| &*facts.netns == HOST);
                Some((plan.origin.created_ms.unwrap_or_default(), facts.wishes(plan), on_host))
            }
            _ => None,
        };
        let (created_ms, wishes, on_host) = wanted.unwrap_or_default();
        self.floating.set(owner, on_host.map(|plan| floating(plan)).unwrap_or_default());
        self.tunnelled.set(owner, on_host);
        self.claims.set(owner, created_ms, wishes)
    }
}
