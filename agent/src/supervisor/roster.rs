//! The agent's memory of its keepers, behind one lock: wishes, sessions, child processes.

use std::collections::BTreeMap;
use std::time::Instant;

use portreeve_xds::Name;
use tokio::process::Child;

use portreeve_agent_core::status::supervised::{Status, Wanted};
use portreeve_keeper::backoff::Backoff;
use portreeve_keeper::{Order, State};

use super::pod_keeper::PodKeeper;
use super::session::{Session, Teller, Wish};

/// Keepers of this protocol and later ones know a memory limit and an extra bootstrap.
const WITH_SETTINGS: u32 = 2;

/// One proxy.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) wish: Option<Wish>,
    pub(super) session: Option<Session>,
    /// Keepers in pods, by the pods' uids.
    pub(super) pods: BTreeMap<Name, PodKeeper>,
    pub(super) child: Option<(Child, Instant)>,
    pub(super) backoff: Backoff,
    pub(super) not_before: Option<Instant>,
    pub(super) alone_since: Option<Instant>,
    pub(super) state: Option<State>,
    pub(super) fault: Option<String>,
    /// The wanted order is not in its file yet.
    pub(super) unwritten: bool,
    /// Why what is wanted now can't be carried out. What was wanted before goes on.
    pub(super) refused: Option<String>,
}

/// All proxies.
#[derive(Debug, Default)]
pub(super) struct Roster {
    pub(super) entries: BTreeMap<String, Entry>,
    sessions: u64,
}

// === impl Roster ===

impl Roster {
    /// Wants something of `name`.
    pub(super) fn wish(&mut self, name: &str, wish: Wish) {
        let entry = self.entries.entry(name.to_owned()).or_default();
        (entry.wish, entry.refused) = (Some(wish), None);
    }

    /// Notes that what is wanted of `name` can't be carried out, and why.
    pub(super) fn refuse(&mut self, name: &str, why: String) {
        self.entries.entry(name.to_owned()).or_default().refused = Some(why);
    }

    /// Notes whether the wanted order could be written: if not, why.
    pub(super) fn unwritten(&mut self, name: &str, why: Option<String>) {
        let entry = self.entries.entry(name.to_owned()).or_default();
        match why {
            Some(why) => {
                entry.unwritten = true;
                entry.complain(name, why);
            }
            None => entry.written(),
        }
    }

    /// Attaches a keeper, in place of an older session of the same name; the session's id.
    pub(super) fn attach(&mut self, state: State, sender: Teller, outdated: bool) -> u64 {
        let id = self.next_session();
        let entry = self.entries.entry(state.name.clone()).or_default();
        entry.session = Some(Session { id, sender, told: None, outdated });
        entry.state = Some(state);
        entry.alone_since = None;
        entry.fault = None;
        id
    }

    pub(super) fn next_session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// Takes a report of session `id`; a replaced session is not heard.
    pub(super) fn report(&mut self, id: u64, state: State) {
        if let Some(entry) = self.session(&state.name, id) {
            entry.state = Some(state);
        }
    }

    /// Ends session `id`, unless it was replaced.
    pub(super) fn detach(&mut self, name: &str, id: u64) {
        if let Some(entry) = self.session(name, id) {
            entry.session = None;
        }
    }

    /// Everything, for people and for the rest of the agent.
    pub(super) fn status(&self) -> BTreeMap<String, Status> {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.status())).collect()
    }

    fn session(&mut self, name: &str, id: u64) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(name)?;
        entry.session.as_ref().is_some_and(|session| session.id == id).then_some(entry)
    }
}

// === impl Entry ===

impl Entry {
    /// Whether the keeper has what is wanted, or was told.
    pub(super) fn told(&self) -> bool {
        let told = self.session.as_ref().and_then(|session| session.told.as_ref());
        match &self.wish {
            Some(Wish::Run(_)) if told.is_none() => self.has_wanted_spec(),
            wish => told == wish.as_ref(),
        }
    }

    /// The wanted order is in its file.
    pub(super) fn written(&mut self) {
        if std::mem::take(&mut self.unwritten) {
            (self.fault, self.not_before) = (None, None);
        }
    }

    fn has_wanted_spec(&self) -> bool {
        match (&self.wish, &self.state) {
            (Some(Wish::Run(order)), Some(state)) => order.hash == state.spec_hash,
            _ => false,
        }
    }

    fn status(&self) -> Status {
        let wanted = match self.wish {
            Some(Wish::Run(_)) => Wanted::Running,
            Some(Wish::Stop(_)) => Wanted::Stopped,
            None => Wanted::Unknown,
        };
        let attached = self.session.is_some() || !self.pods.is_empty();
        let state = self.shown().or_else(|| self.state.clone());
        let has_spec = |order: &Order| state.as_ref().is_some_and(|state| order.hash == state.spec_hash);
        let current = attached && matches!(&self.wish, Some(Wish::Run(order)) if has_spec(order));
        let fault = self.refused.clone().or_else(|| self.fault.clone()).or_else(|| self.passed_over());
        Status { wanted, attached, current, state, fault }
    }

    /// What of the wish its keeper does not know.
    fn passed_over(&self) -> Option<String> {
        let wish = self.wish.as_ref()?;
        let in_pods = self.pods.values().map(PodKeeper::protocol);
        let attached = self.session.as_ref().and(self.state.as_ref()).map(|state| state.protocol);
        if attached.into_iter().chain(in_pods).any(|protocol| !wish.fits(protocol)) {
            return Some(
                "the keeper is of an earlier version, which runs Envoys only: restart it".to_owned(),
            );
        }
        let (Wish::Run(Order { spec, .. }), Some(state)) = (wish, &self.state) else {
            return None;
        };
        let more = spec.memory_limit.is_some() || spec.extra_bootstrap.is_some();
        let unknown = self.session.is_some() && more && state.protocol < WITH_SETTINGS;
        unknown.then(|| {
            "the keeper is of an earlier version, which knows no memoryLimit and no extraBootstrap".to_owned()
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use portreeve_keeper::envoy::Family;
    use portreeve_keeper::{Order, Program, Spec, State};
    use tokio::sync::mpsc;

    use super::Roster;
    use crate::supervisor::session::Wish;

    pub(in crate::supervisor) fn mk_order(memory_limit: Option<u64>) -> Order {
        let spec = Spec {
            name: "gateway".into(),
            envoy: "/envoy".into(),
            node_id: String::new(),
            node_cluster: String::new(),
            ads_socket: "/x".into(),
            concurrency: 1,
            extra_args: vec![],
            health_listener: None,
            drain_s: 0,
            wildcard: Family::V4,
            memory_limit,
            extra_bootstrap: None,
            program: Program::Envoy,
        };
        Order { hash: "one".into(), spec }
    }

    #[test]
    fn keeper_that_does_not_know_a_setting_is_told_of() {
        for (protocol, limit, told) in
            [(1, Some(1), true), (1, None, false), (2, Some(1), false), (2, None, false)]
        {
            let (mut roster, (sender, _instructions)) = (Roster::default(), mpsc::channel(1));
            let order = mk_order(limit);
            let state = State { protocol, ..portreeve_keeper::state::begun(&order, None, 0) };
            roster.wish("gateway", Wish::Run(order));
            roster.attach(state, sender, false);
            let fault = roster.status()["gateway"].fault.clone();
            assert_eq!(fault.is_some_and(|text| text.contains("memoryLimit")), told, "{protocol} {limit:?}");
        }
    }
}
