//! What proxies say of what they are sent: [`Answers`], and what follows for world and book.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Event, Name, Version};

use super::Inner;
use crate::world::ProxyId;
use portreeve_api::refs::ResourceName;

/// How long a proxy that lost its stream, or whose agent is new, has to come back: Envoy tries every second.
const ON_ITS_WAY: Duration = Duration::from_secs(3);

/// What a proxy said of what it was sent.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Streams that are open now.
    pub streams: usize,
    /// The version of each resource that was last accepted.
    pub accepted: BTreeMap<(EnvoyType, Name), Version>,
    /// What a proxy without a stream accepted last. For a moment it is taken to run that still: it goes on without an agent,
    /// and is on its way back to one.
    pub presumed: BTreeMap<(EnvoyType, Name), Version>,
    /// Resources that were refused, also where what was accepted before has taken their place.
    pub refused: BTreeMap<(EnvoyType, Name), Refusal>,
}

/// What all proxies of a node said since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Streams that were opened.
    pub streams: u64,
    /// Responses that were accepted.
    pub acks: u64,
    /// Responses that were refused.
    pub nacks: u64,
}

/// What a proxy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The version that it refused: of a later one nothing is known yet.
    pub version: Version,
    /// The proxy's own words, and what to do where they leave that open.
    pub text: String,
}

/// How to give a proxy the right that it lacks.
const LOW_PORTS: &str = "ports under 1024 need CAP_NET_BIND_SERVICE, which this proxy lacks: choose another port, or give it the \
     capability (deploy/README.md, Ports under 1024)";

// === impl Answers ===

impl Answers {
    /// Whether the proxy is there, as far as is known or to be presumed.
    pub fn is_there(&self) -> bool {
        self.streams > 0 || !self.presumed.is_empty()
    }

    /// Whether this version is what it runs. Without a stream, of assignments its word is not known: they go with their
    /// clusters.
    pub fn runs(&self, key: &(EnvoyType, Name), version: Version) -> bool {
        let presumed = || self.presumed.get(key) == Some(&version);
        let unsaid = || self.streams == 0 && key.0 == EnvoyType::Endpoint;
        self.accepted.get(key) == Some(&version) || presumed() || unsaid()
    }
}

/// What a person is told of a refusal. Envoy says of a port that it may not open: "cannot bind '0.0.0.0:53': Permission denied".
fn told(detail: &str) -> String {
    let denied = detail.contains("cannot bind") && detail.contains("Permission denied");
    if denied { format!("{detail}; {LOW_PORTS}") } else { detail.to_owned() }
}

// === impl Inner ===

impl Inner {
    /// A stream of a proxy has opened.
    pub(super) fn welcome(&mut self, stream: u64, id: &ProxyId) {
        self.streams.insert(stream, id.clone());
        self.tally.streams += 1;
        let refusals = self.world.refusals(id).map(|(key, version, text)| (key, Refusal { version, text }));
        let answers = self.answers.entry(id.clone()).or_default();
        answers.streams += 1;
        answers.refused.extend(refusals);
    }

    /// A stream of a proxy has ended; whether it was the last one, so that the proxy is there by presumption only.
    pub(super) fn part(&mut self, id: &ProxyId, now: Instant) -> bool {
        let Some(answers) = self.answers.get_mut(id) else { return false };
        answers.streams = answers.streams.saturating_sub(1);
        if answers.streams > 0 {
            return false;
        }
        // A proxy that comes back says anew what it accepts.
        let gone = std::mem::take(answers);
        // Among them may be Plans that were withdrawn and waited for this proxy.
        self.book.touch(gone.accepted.keys().map(|(_, name)| ResourceName::plan_of(name).into()));
        self.presume(id.clone(), gone.accepted, now);
        true
    }

    /// Takes it for a moment that a proxy runs this.
    pub(super) fn presume(
        &mut self,
        id: ProxyId,
        presumed: BTreeMap<(EnvoyType, Name), Version>,
        now: Instant,
    ) {
        self.answers.entry(id.clone()).or_default().presumed = presumed;
        self.presumed.insert(id, now + ON_ITS_WAY);
    }

    /// Ends the presumptions that have lasted long enough; answers with the proxies that they were about.
    pub(super) fn presume_no_more(&mut self, now: Instant) -> Vec<ProxyId> {
        let over: Vec<_> = self.presumed.extract_if(.., |_, until| *until <= now).map(|(id, _)| id).collect();
        for id in &over {
            match self.answers.get_mut(id) {
                Some(answers) if answers.streams > 0 => answers.presumed.clear(),
                _ => drop(self.answers.remove(id)),
            }
        }
        over
    }

    /// A proxy said something.
    pub(super) fn take(&mut self, id: &ProxyId, event: &Event<EnvoyType>) {
        match event {
            Event::Acked { ty, resources, removed, .. } => {
                self.tally.acks += 1;
                let names = resources.iter().map(|(name, _)| name).chain(removed);
                self.book.touch(names.map(|name| ResourceName::plan_of(name).into()));
                self.world.accepted(id, *ty, resources);
                self.acked(id, *ty, resources, removed);
            }
            Event::Nacked { ty, names, versions, detail, transient } => {
                tracing::warn!(proxy = %id, resources = ?names, transient, error = detail, "proxy refused resources");
                self.tally.nacks += 1;
                self.book.touch(names.iter().map(|name| ResourceName::plan_of(name).into()));
                let refused: Vec<_> = names.iter().cloned().zip(versions.iter().copied()).collect();
                match transient {
                    true => self.world.put_off(id, *ty, &refused),
                    false => self.world.refused(id, *ty, &refused, detail),
                }
                let answers = self.answers.entry(id.clone()).or_default();
                for (name, version) in refused {
                    answers.refused.insert((*ty, name), Refusal { version, text: told(detail) });
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use portreeve_xds::envoy::EnvoyType;
    use portreeve_xds::{Name, Version};

    use super::super::Inner;
    use super::ON_ITS_WAY;
    use crate::status::Book;
    use crate::translate::Families;
    use crate::world::{ProxyId, World};

    fn mk_inner() -> Inner {
        let (streams, answers, presumed, tally) = Default::default();
        let (world, book) = (World::new(Families::V4), Book::default());
        Inner { world, watermark: None, doubtful: false, streams, answers, presumed, tally, book }
    }

    #[test]
    fn proxy_without_a_stream_is_taken_for_a_moment_to_run_what_it_accepted() {
        let (mut inner, id, now) = (mk_inner(), ProxyId::Node("gw".into()), Instant::now());
        let listener = (EnvoyType::Listener, Name::from("A/ns/call/l"));
        inner.welcome(1, &id);
        inner.acked(&id, EnvoyType::Listener, &[(listener.1.clone(), Version(7))], &[]);
        let runs = |inner: &Inner, version| {
            inner.answers.get(&id).is_some_and(|a| a.is_there() && a.runs(&listener, Version(version)))
        };
        assert!(runs(&inner, 7) && !runs(&inner, 8));
        inner.welcome(2, &id);
        assert!(!inner.part(&id, now), "it has another");
        assert!(inner.part(&id, now) && runs(&inner, 7) && !runs(&inner, 8));
        assert!(inner.answers[&id].accepted.is_empty(), "nothing that was withdrawn waits for it");
        assert!(inner.presume_no_more(now).is_empty() && runs(&inner, 7));
        assert_eq!(inner.presume_no_more(now + ON_ITS_WAY), std::slice::from_ref(&id));
        assert!(!runs(&inner, 7) && !inner.answers.contains_key(&id));
    }

    #[test]
    fn proxy_that_is_back_in_time_is_no_presumption_and_one_that_accepted_nothing_is_not_there() {
        let (mut inner, id, now) = (mk_inner(), ProxyId::Node("gw".into()), Instant::now());
        let listener = (EnvoyType::Listener, Name::from("A/ns/call/l"));
        inner.presume(id.clone(), BTreeMap::from([(listener.clone(), Version(7))]), now);
        inner.welcome(1, &id);
        inner.acked(&id, EnvoyType::Listener, &[(listener.1.clone(), Version(8))], &[]);
        inner.presume_no_more(now + ON_ITS_WAY);
        assert!(inner.answers[&id].is_there() && !inner.answers[&id].runs(&listener, Version(7)));
        inner.presume(ProxyId::Node("other".into()), BTreeMap::new(), now);
        assert!(!inner.answers[&ProxyId::Node("other".into())].is_there());
    }
}
