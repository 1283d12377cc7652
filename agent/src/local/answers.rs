//! What proxies say of what they are sent: [`Answers`], and what follows for world and book.

use std::collections::BTreeMap;

use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Event, Name, Version};

use super::Inner;
use crate::status::plan_of;
use crate::world::ProxyId;

/// What a proxy said of what it was sent.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Streams that are open now.
    pub streams: usize,
    /// The version of each resource that was last accepted.
    pub accepted: BTreeMap<(EnvoyType, Name), Version>,
    /// Resources that were refused, also where what was accepted before has taken their place.
    pub refused: BTreeMap<(EnvoyType, Name), Refusal>,
}

/// What a proxy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The version that it refused: of a later one nothing is known yet.
    pub version: Version,
    /// The proxy's own words.
    pub text: String,
}

// === impl Inner ===

impl Inner {
    /// A stream of a proxy has opened.
    pub(super) fn welcome(&mut self, stream: u64, id: &ProxyId) {
        self.streams.insert(stream, id.clone());
        let refusals = self.world.refusals(id).map(|(key, version, text)| (key, Refusal { version, text }));
        let answers = self.answers.entry(id.clone()).or_default();
        answers.streams += 1;
        answers.refused.extend(refusals);
    }

    /// A proxy said something.
    pub(super) fn take(&mut self, id: &ProxyId, event: &Event<EnvoyType>) {
        match event {
            Event::Acked { ty, resources, removed, .. } => {
                let names = resources.iter().map(|(name, _)| name).chain(removed);
                self.book.touch(names.map(|name| plan_of(name).into()));
                self.world.accepted(id, *ty, resources);
                self.acked(id, *ty, resources, removed);
            }
            Event::Nacked { ty, names, versions, detail, transient } => {
                tracing::warn!(proxy = %id, resources = ?names, transient, error = detail, "proxy refused resources");
                self.book.touch(names.iter().map(|name| plan_of(name).into()));
                let refused: Vec<_> = names.iter().cloned().zip(versions.iter().copied()).collect();
                if !transient {
                    self.world.refused(id, *ty, &refused, detail);
                }
                let answers = self.answers.entry(id.clone()).or_default();
                for (name, version) in refused {
                    answers.refused.insert((*ty, name), Refusal { version, text: detail.clone() });
                }
            }
            Event::Unknown { type_url } => {
                tracing::debug!(proxy = %id, %type_url, "proxy asked for a type we don't serve")
            }
        }
    }

    fn acked(&mut self, id: &ProxyId, ty: EnvoyType, resources: &[(Name, Version)], removed: &[Name]) {
        let answers = self.answers.entry(id.clone()).or_default();
        for (name, version) in resources {
            // Of what it refused it accepts the earlier version: that is no word on the present one.
            if !self.world.is_refused(id, ty, name) {
                answers.refused.remove(&(ty, name.clone()));
            }
            answers.accepted.insert((ty, name.clone()), *version);
        }
        for name in removed {
            answers.refused.remove(&(ty, name.clone()));
            answers.accepted.remove(&(ty, name.clone()));
        }
    }

    /// Forgets the refusals that are of the past without the proxy's word.
    pub(super) fn clear_refusals(&mut self) {
        for (id, ty, name) in self.world.take_cleared() {
            if let Some(answers) = self.answers.get_mut(&id) {
                answers.refused.remove(&(ty, name));
            }
        }
    }
}
