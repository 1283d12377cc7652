//! The world's verbs for proxies' streams, ACKs and NACKs.

use std::collections::BTreeSet;
use std::time::Instant;

use portreeve_api::refs::{ProxyId, ResourceName};
use portreeve_xds::{Event, Name, Version, Versions};

use super::World;
use crate::claims::Owner;
use crate::fleet::{Announced, Tally};
use crate::translate::ProxyModel;

// === impl World ===

impl World {
    /// Records a new stream of a proxy, which announces this. A later stream has a higher number.
    pub fn welcome<T: ProxyModel>(&mut self, stream: u64, id: &ProxyId, announced: Announced) {
        let Some(fleet) = self.fleets.typed_mut::<T>() else { return };
        fleet.welcome(stream, id, announced);
        let facts = fleet.proxies().get(id).map(|proxy| proxy.facts.clone());
        facts.iter().for_each(|facts| self.touch_taken_by(facts));
        self.follow_joining();
    }

    /// Records the end of a stream. Returns the stream's proxy, and whether this was the proxy's last stream,
    /// so that it now counts as present for a short time only.
    pub fn part<T: ProxyModel>(&mut self, stream: u64, now: Instant) -> Option<(ProxyId, bool)> {
        let fleet = self.fleets.typed_mut::<T>()?;
        let id = fleet.at_stream(stream)?.clone();
        let accepted = fleet.part(stream, now);
        self.follow_announced(T::KIND, &id);
        let fleet = self.fleets.typed_mut::<T>()?;
        let facts = fleet.proxies().get(&id).map(|proxy| proxy.facts.clone());
        facts.iter().for_each(|facts| self.touch_taken_by(facts));
        let alone = accepted.is_some();
        self.touched.extend(accepted.into_iter().flatten());
        if let ProxyId::Pod(uid) = &id {
            self.follow_lost([uid.clone()]);
        }
        Some((id, alone))
    }

    /// Returns the proxy that a stream belongs to.
    pub fn at_stream<T: ProxyModel>(&self, stream: u64) -> Option<&ProxyId> {
        self.fleet::<T>()?.at_stream(stream)
    }

    /// Handles a proxy's answer to what it was sent.
    pub fn answered<T: ProxyModel>(&mut self, id: &ProxyId, event: &Event<T>) {
        match event {
            Event::Acked { ty, resources, removed, .. } => {
                let names = resources.iter().map(|(name, _)| name).chain(removed);
                self.touched.extend(names.map(|name| Name::from(ResourceName::plan_of(name))));
                self.touch_routers(id, *ty, resources, removed);
                self.accepted(id, *ty, resources);
                if let Some(fleet) = self.fleets.typed_mut() {
                    fleet.acked(id, *ty, resources, removed);
                }
                self.follow_joining();
            }
            Event::Nacked { ty, names, versions, detail, transient } => {
                tracing::warn!(proxy = %id, resources = ?names, transient, error = detail, "proxy refused resources");
                self.touched.extend(names.iter().map(|name| Name::from(ResourceName::plan_of(name))));
                let refused: Vec<_> = names.iter().cloned().zip(versions.iter().copied()).collect();
                match transient {
                    true => self.put_off(id, *ty, &refused),
                    false => self.refused(id, *ty, &refused, detail),
                }
                if let Some(fleet) = self.fleets.typed_mut() {
                    fleet.nacked(id, *ty, refused, detail);
                }
                self.follow_joining();
            }
            Event::Unknown { type_url } => {
                tracing::debug!(proxy = %id, %type_url, "proxy asked for a type we don't serve")
            }
        }
    }

    /// Touches the Plans whose rules lead to a cluster that the proxy didn't have, or has no more.
    fn touch_routers<T: ProxyModel>(&mut self, id: &ProxyId, ty: T, resources: &Versions, removed: &[Name]) {
        if ty != T::CLUSTER {
            return;
        }
        let fleet = self.fleets.typed::<T>();
        let is_new = |name: &&Name| fleet.is_none_or(|fleet| !fleet.has_acked(id, &(ty, (*name).clone())));
        let new = resources.iter().map(|(name, _)| name).filter(is_new);
        let routers = new.chain(removed).filter_map(|name| self.feed.routers.get(name));
        self.touched.extend(routers.flatten().cloned());
    }

    /// Records ACKs of these versions.
    pub fn accepted<T: ProxyModel>(&mut self, id: &ProxyId, ty: T, resources: &Versions) {
        let Some(fleet) = self.fleets.typed_mut() else { return };
        let dirty = fleet.accept(id, ty, resources);
        self.bring_plans_up_to_date::<T>(id, dirty);
    }

    /// Records transient rejections of these versions.
    pub fn put_off<T: ProxyModel>(&mut self, id: &ProxyId, ty: T, resources: &[(Name, Version)]) {
        let Some(fleet) = self.fleets.typed_mut() else { return };
        let dirty = fleet.put_off(id, ty, resources);
        self.bring_plans_up_to_date::<T>(id, dirty);
    }

    /// Records rejections of these versions' content, with the proxy's error message `text`.
    pub fn refused<T: ProxyModel>(&mut self, id: &ProxyId, ty: T, resources: &[(Name, Version)], text: &str) {
        let Some(fleet) = self.fleets.typed_mut() else { return };
        let dirty = fleet.refuse(id, ty, resources, text);
        self.bring_plans_up_to_date::<T>(id, dirty);
    }

    fn bring_plans_up_to_date<T: ProxyModel>(&mut self, id: &ProxyId, plans: BTreeSet<Name>) {
        let owner = |plan| Owner { kind: T::KIND, proxy: id.clone(), plan };
        self.bring_up_to_date(plans.into_iter().map(owner).collect());
    }

    /// Handles a restart of a proxy, which then has no resources: it gets this agent's translations.
    pub fn restarted<T: ProxyModel>(&mut self, id: &ProxyId) {
        let Some(fleet) = self.fleets.typed_mut::<T>() else { return };
        fleet.restart(id);
        self.bring_all_up_to_date(T::KIND, id);
    }

    /// Returns whether a proxy has no stream.
    pub fn is_alone<T: ProxyModel>(&self, id: &ProxyId) -> bool {
        self.fleets.of(T::KIND).is_none_or(|fleet| fleet.streams(id) == 0)
    }

    /// Returns the number of streams that the proxies of a NodeProxy or pod have open.
    pub fn streams(&self, id: &ProxyId) -> usize {
        self.fleets.all().map(|fleet| fleet.streams(id)).sum()
    }

    /// Returns the counts over all proxies.
    pub fn tally(&self) -> Tally {
        self.fleets.all().map(|fleet| fleet.tally()).fold(Tally::default(), |one, other| Tally {
            streams: one.streams + other.streams,
            acks: one.acks + other.acks,
            nacks: one.nacks + other.nacks,
        })
    }

    /// Counts the proxies of an earlier agent as running what they accepted, for a short time: they are
    /// reconnecting to this agent.
    pub fn presume_all(&mut self, now: Instant) {
        self.fleets.all_mut().for_each(|fleet| fleet.presume_all(now));
    }

    /// Returns when the next disconnected proxy stops counting as present; `None` if there is none.
    pub fn presumed_until(&self) -> Option<Instant> {
        self.fleets.all().filter_map(|fleet| fleet.presumed_until()).min()
    }

    /// Ends the presence of disconnected proxies that have not reconnected in time.
    pub fn presume_no_more(&mut self, now: Instant) {
        let mut over = Vec::new();
        for fleet in self.fleets.all_mut() {
            let alone = fleet.presume_no_more(now);
            over.extend(alone.iter().filter_map(|id| fleet.facts(id)).cloned());
        }
        over.iter().for_each(|facts| self.touch_taken_by(facts));
    }
}
