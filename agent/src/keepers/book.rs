//! The agent's memory of its keepers, behind one lock: wishes, sessions, child processes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::process::Child;
use tokio::sync::mpsc;

use crate::keeper::backoff::Backoff;
use crate::keeper::wire::proto::instruction::What;
use crate::keeper::wire::proto::{Instruction, Stop};
use crate::keeper::{Order, State};

use super::{Status, Wanted};

/// What is wanted of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Run(Order),
    Stop(Duration),
}

/// One attached keeper.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) sender: mpsc::Sender<Instruction>,
    pub(super) told: Option<Wish>,
    /// The keeper is of another build than this agent, and can become of this one.
    pub(super) outdated: bool,
}

/// One proxy.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) wish: Option<Wish>,
    pub(super) session: Option<Session>,
    pub(super) child: Option<(Child, Instant)>,
    pub(super) backoff: Backoff,
    pub(super) not_before: Option<Instant>,
    pub(super) alone_since: Option<Instant>,
    pub(super) state: Option<State>,
    pub(super) fault: Option<String>,
}

/// All proxies.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) entries: BTreeMap<String, Entry>,
    sessions: u64,
}

// === impl Wish ===

impl Wish {
    /// The wish as the keeper hears it.
    pub(super) fn instruction(&self) -> Instruction {
        let what = match self {
            Self::Run(order) => What::Spec(order.into()),
            Self::Stop(drain) => {
                What::Stop(Stop { drain_s: u32::try_from(drain.as_secs()).unwrap_or(u32::MAX) })
            }
        };
        Instruction { what: Some(what) }
    }
}

// === impl Book ===

impl Book {
    /// Wants something of `name`.
    pub(super) fn wish(&mut self, name: &str, wish: Wish) {
        self.entries.entry(name.to_owned()).or_default().wish = Some(wish);
    }

    /// Attaches a keeper, in place of an older session of the same name; the session's id.
    pub(super) fn attach(&mut self, state: State, sender: mpsc::Sender<Instruction>, outdated: bool) -> u64 {
        self.sessions += 1;
        let entry = self.entries.entry(state.name.clone()).or_default();
        entry.session = Some(Session { id: self.sessions, sender, told: None, outdated });
        entry.state = Some(state);
        entry.alone_since = None;
        entry.fault = None;
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
        let attached = self.session.is_some();
        let current = attached && self.has_wanted_spec();
        Status { wanted, attached, current, state: self.state.clone(), fault: self.fault.clone() }
    }
}
