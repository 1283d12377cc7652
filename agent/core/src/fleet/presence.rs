//! Which of a fleet's proxies are connected, or count as present while disconnected: [`Presence`]. Their ACKs
//! and NACKs are recorded here too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use portreeve_api::refs::{ProxyId, ResourceName};
use portreeve_xds::{Name, Version, Versions};

use super::Announced;
use super::Fleet;
use super::answers::{Refusal, Tally};
use super::ledger::Ledger;
use crate::translate::ProxyModel;

/// How long a proxy counts as present after it lost its last stream, or after the agent started. Envoy
/// reconnects every second.
pub(super) const ON_ITS_WAY: Duration = Duration::from_secs(3);

/// Counts of one proxy's ACKs and NACKs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The proxy's id.
    pub id: ProxyId,
    /// Open streams.
    pub streams: usize,
    /// Accepted resources.
    pub accepted: usize,
    /// Rejected resources.
    pub refused: usize,
}

/// Which of a fleet's proxies are present, independent of their kind.
pub trait Presence {
    /// Returns the number of streams that a proxy has open.
    fn streams(&self, id: &ProxyId) -> usize;

    /// Returns what a proxy's oldest open stream announced; `None` if no stream is open.
    fn announced(&self, id: &ProxyId) -> Option<&Announced>;

    /// Returns counts for every proxy that answered or counts as present.
    fn counts(&self) -> Vec<Counts>;

    /// Returns the counts over all proxies since the agent started.
    fn tally(&self) -> Tally;

    /// Counts every proxy as running what it accepted from an earlier agent, for three seconds from `now`.
    fn presume_all(&mut self, now: Instant);

    /// Returns when the next disconnected proxy stops counting as present; `None` if there is none.
    fn presumed_until(&self) -> Option<Instant>;

    /// Ends the presence of disconnected proxies that have not reconnected in time. Returns these proxies.
    fn presume_no_more(&mut self, now: Instant) -> Vec<ProxyId>;
}

impl<T: ProxyModel> Presence for Fleet<T> {
    fn streams(&self, id: &ProxyId) -> usize {
        self.answers.get(id).map_or(0, |answers| answers.streams.len())
    }

    fn announced(&self, id: &ProxyId) -> Option<&Announced> {
        self.answers.get(id)?.streams.values().next()
    }

    fn counts(&self) -> Vec<Counts> {
        let of = |(id, one): (&ProxyId, &super::Answers<T>)| {
            let (accepted, refused) = (one.accepted.len(), one.refused.len());
            Counts { id: id.clone(), streams: one.streams.len(), accepted, refused }
        };
        self.answers.iter().map(of).collect()
    }

    fn tally(&self) -> Tally {
        self.tally
    }

    fn presume_all(&mut self, now: Instant) {
        let all = self.ledgers.iter().map(|(id, ledger)| (id.clone(), ledger.accepted().collect()));
        let all: Vec<_> = all.collect();
        all.into_iter().for_each(|(id, accepted)| self.presume(id, accepted, now));
    }

    fn presumed_until(&self) -> Option<Instant> {
        self.presumed.values().min().copied()
    }

    fn presume_no_more(&mut self, now: Instant) -> Vec<ProxyId> {
        let over: Vec<_> = self.presumed.extract_if(.., |_, until| *until <= now).map(|(id, _)| id).collect();
        for id in &over {
            match self.answers.get_mut(id) {
                Some(answers) if !answers.streams.is_empty() => answers.presumed.clear(),
                _ => drop(self.answers.remove(id)),
            }
        }
        over
    }
}

// === impl Fleet ===

impl<T: ProxyModel> Fleet<T> {
    /// Returns the proxy that a stream belongs to.
    pub fn at_stream(&self, stream: u64) -> Option<&ProxyId> {
        self.streams.get(&stream)
    }

    /// Records a new stream. Earlier rejections are restored, because the proxy does not repeat them: on the
    /// new stream it is sent the accepted versions.
    pub fn welcome(&mut self, stream: u64, id: &ProxyId, announced: Announced) {
        self.streams.insert(stream, id.clone());
        self.tally.streams += 1;
        if let Some(proxy) = self.proxies.get_mut(id).filter(|_| !self.caught_up) {
            let accepted = self.ledgers.get(id).into_iter().flat_map(Ledger::accepted).collect();
            proxy.may_be_newer(Some(accepted));
        }
        let refusals = self.ledgers.get(id).into_iter().flat_map(Ledger::refusals);
        let answers = self.answers.entry(id.clone()).or_default();
        answers.streams.insert(stream, announced);
        answers.refused.extend(refusals.map(|(key, version, text)| (key, Refusal { version, text })));
    }

    /// Records the end of a stream. If it was the proxy's last one, the proxy counts as present for a short
    /// time, and the Plans of which it had accepted resources are returned. These include withdrawn Plans
    /// that waited for this proxy.
    pub fn part(&mut self, stream: u64, now: Instant) -> Option<BTreeSet<Name>> {
        let id = self.streams.remove(&stream)?;
        let answers = self.answers.get_mut(&id)?;
        answers.streams.remove(&stream);
        if !answers.streams.is_empty() {
            return None;
        }
        // A proxy that reconnects sends its ACKs again.
        let gone = std::mem::take(answers);
        let plans = gone.accepted.keys().map(|(_, name)| ResourceName::plan_of(name).into()).collect();
        self.presume(id, gone.accepted, now);
        Some(plans)
    }

    /// Records what a proxy accepted and what it confirmed as removed.
    pub fn acked(&mut self, id: &ProxyId, ty: T, resources: &Versions, removed: &[Name]) {
        self.tally.acks += 1;
        // This ACK may be for the fallback version: it says nothing about the rejected one.
        let answered: Vec<_> = resources.iter().filter(|(name, _)| !self.is_refused(id, ty, name)).collect();
        let answers = self.answers.entry(id.clone()).or_default();
        for (name, _) in answered {
            answers.refused.remove(&(ty, name.clone()));
        }
        answers.accepted.extend(resources.iter().map(|(name, version)| ((ty, name.clone()), version)));
        for name in removed {
            answers.refused.remove(&(ty, name.clone()));
            answers.accepted.remove(&(ty, name.clone()));
        }
    }

    /// Returns whether a proxy has any version of a resource.
    pub fn has_acked(&self, id: &ProxyId, key: &(T, Name)) -> bool {
        self.answers.get(id).is_some_and(|answers| answers.has(key))
    }

    /// Records what a proxy rejected, with its error message.
    pub fn nacked(&mut self, id: &ProxyId, ty: T, refused: Vec<(Name, Version)>, detail: &str) {
        self.tally.nacks += 1;
        let answers = self.answers.entry(id.clone()).or_default();
        for (name, version) in refused {
            answers.refused.insert((ty, name), Refusal { version, text: T::told(detail) });
        }
    }

    /// Counts a proxy as running these versions for a short time.
    fn presume(&mut self, id: ProxyId, accepted: BTreeMap<(T, Name), Version>, now: Instant) {
        self.answers.entry(id.clone()).or_default().presumed = accepted;
        self.presumed.insert(id, now + ON_ITS_WAY);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use portreeve_api::refs::ProxyId;
    use portreeve_xds::{Name, Version};

    use super::{Announced, Fleet, ON_ITS_WAY, Presence};
    use crate::fleet::test_model::TestType;

    #[test]
    fn proxy_without_a_stream_is_taken_for_a_moment_to_run_what_it_accepted() {
        let (mut fleet, id, now) = (Fleet::default(), ProxyId::Node("gw".into()), Instant::now());
        let listener = (TestType::Listener, Name::from("A/ns/call/l"));
        fleet.welcome(1, &id, Announced::default());
        fleet.acked(&id, TestType::Listener, &vec![(listener.1.clone(), Version(7))].into(), &[]);
        let runs = |fleet: &Fleet<_>, version| {
            fleet.answers.get(&id).is_some_and(|a| a.is_there() && a.runs(&listener, Version(version)))
        };
        assert!(runs(&fleet, 7) && !runs(&fleet, 8));
        fleet.welcome(2, &id, Announced::default());
        assert!(fleet.part(2, now).is_none(), "it has another");
        let waited = fleet.part(1, now);
        assert!(waited.is_some_and(|plans| plans.contains("A/ns/call")));
        assert!(runs(&fleet, 7) && !runs(&fleet, 8));
        assert!(fleet.answers[&id].accepted.is_empty(), "nothing that was withdrawn waits for it");
        assert!(fleet.presume_no_more(now).is_empty() && runs(&fleet, 7));
        assert_eq!(fleet.presume_no_more(now + ON_ITS_WAY), std::slice::from_ref(&id));
        assert!(!runs(&fleet, 7) && !fleet.answers.contains_key(&id));
    }

    #[test]
    fn proxy_that_is_back_in_time_is_no_presumption_and_one_that_accepted_nothing_is_not_there() {
        let (mut fleet, id, now) = (Fleet::default(), ProxyId::Node("gw".into()), Instant::now());
        let listener = (TestType::Listener, Name::from("A/ns/call/l"));
        fleet.presume(id.clone(), BTreeMap::from([(listener.clone(), Version(7))]), now);
        fleet.welcome(1, &id, Announced::default());
        fleet.acked(&id, TestType::Listener, &vec![(listener.1.clone(), Version(8))].into(), &[]);
        fleet.presume_no_more(now + ON_ITS_WAY);
        assert!(fleet.answers[&id].is_there() && !fleet.answers[&id].runs(&listener, Version(7)));
        fleet.presume(ProxyId::Node("other".into()), BTreeMap::new(), now);
        assert!(!fleet.answers[&ProxyId::Node("other".into())].is_there());
    }
}
