//! The world's verbs about what proxies say: that they are there, and what they accept and refuse.

use std::collections::BTreeSet;
use std::time::Instant;

use portreeve_api::refs::{ProxyId, ResourceName};
use portreeve_xds::{Event, Name, Version};

use super::World;
use crate::claims::Owner;
use crate::fleet::Tally;
use crate::translate::ProxyModel;

// === impl World ===

impl World {
    /// A stream of a proxy has opened.
    pub fn welcome<T: ProxyModel>(&mut self, stream: u64, id: &ProxyId) {
        let Some(fleet) = self.fleets.typed_mut::<T>() else { return };
        fleet.welcome(stream, id);
        let facts = fleet.proxies().get(id).map(|proxy| proxy.facts.clone());
        facts.iter().for_each(|facts| self.touch_taken_by(facts));
    }

    /// A stream has ended: whose it was, and whether it was its last one, so that the proxy is there by presumption only.
    pub fn part<T: ProxyModel>(&mut self, stream: u64, now: Instant) -> Option<(ProxyId, bool)> {
        let fleet = self.fleets.typed_mut::<T>()?;
        let id = fleet.at_stream(stream)?.clone();
        let accepted = fleet.part(stream, now);
        let facts = fleet.proxies().get(&id).map(|proxy| proxy.facts.clone());
        facts.iter().for_each(|facts| self.touch_taken_by(facts));
        let alone = accepted.is_some();
        self.touched.extend(accepted.into_iter().flatten());
        Some((id, alone))
    }

    /// The proxy at the other end of a stream.
    pub fn at_stream<T: ProxyModel>(&self, stream: u64) -> Option<&ProxyId> {
        self.fleet::<T>()?.at_stream(stream)
    }

    /// A proxy said something of what it was sent.
    pub fn answered<T: ProxyModel>(&mut self, id: &ProxyId, event: &Event<T>) {
        match event {
            Event::Acked { ty, resources, removed, .. } => {
                let names = resources.iter().map(|(name, _)| name).chain(removed);
                self.touched.extend(names.map(|name| Name::from(ResourceName::plan_of(name))));
                self.accepted(id, *ty, resources);
                if let Some(fleet) = self.fleets.typed_mut() {
                    fleet.acked(id, *ty, resources, removed);
                }
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
            }
            Event::Unknown { type_url } => {
                tracing::debug!(proxy = %id, %type_url, "proxy asked for a type we don't serve")
            }
        }
    }

    /// A proxy accepted these versions.
    pub(super) fn accepted<T: ProxyModel>(&mut self, id: &ProxyId, ty: T, resources: &[(Name, Version)]) {
        let Some(fleet) = self.fleets.typed_mut() else { return };
        let dirty = fleet.accept(id, ty, resources);
        self.bring_plans_up_to_date::<T>(id, dirty);
    }

    /// A proxy refused these versions for a cause that may pass.
    pub(super) fn put_off<T: ProxyModel>(&mut self, id: &ProxyId, ty: T, resources: &[(Name, Version)]) {
        let Some(fleet) = self.fleets.typed_mut() else { return };
        let dirty = fleet.put_off(id, ty, resources);
        self.bring_plans_up_to_date::<T>(id, dirty);
    }

    /// A proxy refused these versions for what is in them; `text` are its words.
    pub(super) fn refused<T: ProxyModel>(
        &mut self,
        id: &ProxyId,
        ty: T,
        resources: &[(Name, Version)],
        text: &str,
    ) {
        let Some(fleet) = self.fleets.typed_mut() else { return };
        let dirty = fleet.refuse(id, ty, resources, text);
        self.bring_plans_up_to_date::<T>(id, dirty);
    }

    fn bring_plans_up_to_date<T: ProxyModel>(&mut self, id: &ProxyId, plans: BTreeSet<Name>) {
        let owner = |plan| Owner { kind: T::KIND, proxy: id.clone(), plan };
        self.bring_up_to_date(plans.into_iter().map(owner).collect());
    }

    /// A proxy started anew and has nothing: it gets what this agent makes.
    pub fn restarted<T: ProxyModel>(&mut self, id: &ProxyId) {
        let Some(fleet) = self.fleets.typed_mut::<T>() else { return };
        fleet.restart(id);
        self.bring_all_up_to_date(T::KIND, id);
    }

    /// Whether a proxy has no stream.
    pub fn is_alone<T: ProxyModel>(&self, id: &ProxyId) -> bool {
        self.fleets.of(T::KIND).is_none_or(|fleet| fleet.streams(id) == 0)
    }

    /// How many streams a NodeProxy's or pod's proxies have open.
    pub fn streams(&self, id: &ProxyId) -> usize {
        self.fleets.all().map(|fleet| fleet.streams(id)).sum()
    }

    /// What all proxies said, in numbers.
    pub fn tally(&self) -> Tally {
        self.fleets.all().map(|fleet| fleet.tally()).fold(Tally::default(), |one, other| Tally {
            streams: one.streams + other.streams,
            acks: one.acks + other.acks,
            nacks: one.nacks + other.nacks,
        })
    }

    /// Takes it for a moment that the proxies that an earlier agent served run what they accepted: they are on their way to
    /// this one.
    pub fn presume_all(&mut self, now: Instant) {
        self.fleets.all_mut().for_each(|fleet| fleet.presume_all(now));
    }

    /// When the next presumption that a proxy without a stream is there ends.
    pub fn presumed_until(&self) -> Option<Instant> {
        self.fleets.all().filter_map(|fleet| fleet.presumed_until()).min()
    }

    /// Ends the presumptions that have lasted long enough.
    pub fn presume_no_more(&mut self, now: Instant) {
        let mut over = Vec::new();
        for fleet in self.fleets.all_mut() {
            let alone = fleet.presume_no_more(now);
            over.extend(alone.iter().filter_map(|id| fleet.facts(id)).cloned());
        }
        over.iter().for_each(|facts| self.touch_taken_by(facts));
    }
}
