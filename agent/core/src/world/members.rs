//! Adds and removes proxies, and decides when absence from a proxy's view means deletion.

use std::sync::Arc;

use portreeve_api::refs::ProxyId;
use portreeve_xds::{Name, View};

use super::World;
use crate::claims::Owner;
use crate::fleet::{Announced, Facts};
use crate::translate::{ProxyKind, ProxyModel};

// === impl World ===

impl World {
    /// Returns the kinds of proxies that this agent serves.
    pub(super) fn kinds(&self) -> Vec<ProxyKind> {
        self.fleets.all().map(|fleet| fleet.kind()).collect()
    }

    /// Returns the view of a connecting proxy, which announces this; `None` if it is not a proxy of this node.
    pub fn open<T: ProxyModel>(&mut self, id: &ProxyId, announced: &Announced) -> Option<Arc<View<T>>> {
        if let ProxyId::Pod(uid) = id {
            let facts = self.facts_of_connecting(T::KIND, uid, announced)?;
            self.set_bare(T::KIND, uid, None);
            self.note_announced(uid, &facts);
            self.put_proxy(id.clone(), facts);
        }
        self.fleet::<T>()?.proxies().get(id).map(|proxy| proxy.view.clone())
    }

    /// Returns the facts of a connecting pod's proxy. While a stream of another process of this proxy is open,
    /// what that process announced stays.
    fn facts_of_connecting(&self, kind: ProxyKind, uid: &Name, announced: &Announced) -> Option<Facts> {
        let id = ProxyId::Pod(uid.clone());
        let before = self.fleets.of(kind)?.announced(&id);
        let announced = before.unwrap_or(announced);
        let facts = Facts::of_pod(kind, self.pods.get(uid)?, self.host_families, announced.clone());
        Some(self.surrounded(facts))
    }

    /// Names a pod's proxy by its oldest stream, after another stream ended.
    pub(super) fn follow_announced(&mut self, kind: ProxyKind, id: &ProxyId) {
        let ProxyId::Pod(uid) = id else { return };
        let Some(announced) = self.fleets.of(kind).and_then(|fleet| fleet.announced(id)) else { return };
        if let Some(facts) = self.facts_of_connecting(kind, uid, announced) {
            self.note_announced(uid, &facts);
            self.put_proxy(id.clone(), facts);
        }
    }

    fn note_announced(&mut self, uid: &Name, facts: &Facts) {
        match facts.announced.node_id.is_empty() {
            true => self.announced.remove(uid),
            false => self.announced.insert(uid.clone(), facts.announced.node_id.clone()),
        };
    }

    /// Returns whether the view of a connecting proxy is complete. After a restart of the agent, a host name
    /// without an answer holds back a Plan that the proxy may already run.
    pub fn settled(&self, kind: ProxyKind, id: &ProxyId, announced: &Announced) -> bool {
        let facts = match id {
            ProxyId::Pod(uid) => self.facts_of_connecting(kind, uid, announced),
            ProxyId::Node(_) => self.fleets.of(kind).and_then(|fleet| fleet.facts(id)).cloned(),
        };
        self.complete() && facts.is_none_or(|facts| !self.waits(&facts))
    }

    /// Returns whether a Plan of this proxy waits for the first answer for a host name.
    fn waits(&self, facts: &Facts) -> bool {
        self.hosts.waiting().filter_map(|plan| self.feed.plans.get(plan)).any(|plan| facts.takes(plan))
    }

    /// Marks for a status update the Plans that may apply to a proxy.
    pub(super) fn touch_taken_by(&mut self, facts: &Facts) {
        let plans = self.feed.plans.iter().filter(|(_, plan)| facts.may_take(plan));
        self.touched.extend(plans.map(|(name, _)| name.clone()));
    }

    pub(super) fn follow_node_proxy(&mut self, name: Name) {
        let id = ProxyId::Node(name.clone());
        let facts = self.feed.proxies.get(&name);
        let facts = facts.map(|proxy| Facts::of_node_proxy(&name, proxy, self.host_families));
        for kind in self.kinds() {
            if facts.as_ref().is_none_or(|facts| facts.kind != kind) {
                self.drop_proxy(kind, &id, "the NodeProxy is gone");
            }
        }
        if let Some(facts) = facts {
            self.put_proxy(id, facts);
        }
    }

    pub(super) fn put_proxy(&mut self, id: ProxyId, facts: Facts) {
        let (kind, netns) = (facts.kind, facts.netns.clone());
        let facts = self.surrounded(facts);
        let before = self.fleets.of(kind).and_then(|fleet| fleet.facts(&id)).cloned();
        if !self.put_surrounded(id, facts) {
            return;
        }
        self.follow_beside(kind, &netns);
        if let Some(before) = before.filter(|before| before.netns != netns) {
            self.follow_beside(kind, &before.netns);
        }
    }

    /// Returns whether the facts are new.
    fn put_surrounded(&mut self, id: ProxyId, facts: Facts) -> bool {
        let sure = self.is_sure(&facts);
        let kind = facts.kind;
        let Some(fleet) = self.fleets.of_mut(kind).filter(|fleet| fleet.facts(&id) != Some(&facts)) else {
            return false;
        };
        fleet.put(id.clone(), facts.clone(), sure);
        self.touch_taken_by(&facts);
        self.bring_all_up_to_date(kind, &id);
        true
    }

    /// Returns facts with the proxies of other kinds in the same network namespace.
    pub(super) fn surrounded(&self, facts: Facts) -> Facts {
        let others = self.fleets.all().filter(|fleet| fleet.kind() != facts.kind);
        let beside = others.flat_map(|fleet| fleet.in_netns(&facts.netns)).collect();
        Facts { beside, ..facts }
    }

    /// Updates the facts of the proxies beside those of a kind in a network namespace, because one of those changed.
    fn follow_beside(&mut self, kind: ProxyKind, netns: &Name) {
        for other in self.kinds().into_iter().filter(|other| *other != kind) {
            let Some(fleet) = self.fleets.of(other) else { continue };
            let there = |id: &ProxyId| fleet.facts(id).filter(|facts| facts.netns == *netns).cloned();
            let proxies = fleet.ids().into_iter().filter_map(|id| there(&id).map(|facts| (id, facts)));
            let (proxies, bare): (Vec<_>, _) = (proxies.collect(), fleet.bare_in_netns(netns));
            for (id, facts) in proxies {
                let facts = self.surrounded(facts);
                self.put_surrounded(id, facts);
            }
            for (uid, facts) in bare {
                self.set_bare(other, &uid, Some(facts));
            }
        }
    }

    /// Refreshes all Plans of a proxy, including Plans that are gone and of which it accepted resources.
    pub(super) fn bring_all_up_to_date(&mut self, kind: ProxyKind, id: &ProxyId) {
        let accepted = self.fleets.of(kind).map(|fleet| fleet.plans_of(id)).unwrap_or_default();
        let plans = self.feed.plans.keys().cloned().chain(accepted);
        self.bring_up_to_date(plans.map(|plan| Owner { kind, proxy: id.clone(), plan }).collect());
    }

    /// Returns whether absence from a proxy's view means deletion. It does if the hub itself has sent
    /// everything (the store may be older than the proxy's resources) and no Plan of this proxy waits.
    fn is_sure(&self, facts: &Facts) -> bool {
        self.feed.heard_all() && !self.waits(facts)
    }

    /// Marks the views of proxies as complete for which absence now means deletion.
    pub(super) fn be_sure(&mut self) {
        if !self.feed.heard_all() {
            return;
        }
        self.hosts.close();
        self.fleets.all_mut().for_each(|fleet| fleet.catch_up());
        let mut sure = Vec::new();
        for fleet in self.fleets.all() {
            let now = fleet.unsure().into_iter();
            let now = now.filter(|id| fleet.facts(id).is_some_and(|facts| self.is_sure(facts)));
            sure.extend(now.map(|id| (fleet.kind(), id.clone())));
        }
        for (kind, id) in sure {
            if let Some(fleet) = self.fleets.of_mut(kind) {
                fleet.be_sure(&id);
            }
        }
    }

    pub(super) fn drop_proxy(&mut self, kind: ProxyKind, id: &ProxyId, reason: &str) {
        let Some(fleet) = self.fleets.of_mut(kind) else { return };
        fleet.keep(&|kept| kept != id);
        let Some(facts) = fleet.remove(id, reason) else { return };
        self.touch_taken_by(&facts);
        let shifted = self.claims.drop_proxy(kind, id);
        self.floating.drop_proxy(kind, id);
        self.tunnelled.drop_proxy(kind, id);
        self.bring_up_to_date(shifted);
        self.follow_beside(kind, &facts.netns);
    }
}
