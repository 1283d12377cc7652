//! Keepers in pods of gateways: the agent starts and ends none of them, it tells the one that leads what to run, and which Envoy to
//! take over from.

use std::collections::BTreeMap;

use portreeve_xds::{Name, Peer};

use super::Shared;
use super::book::{Book, Entry, Session, Wish};
use crate::keeper::State;
use crate::keeper::wire::proto::instruction::What;
use crate::keeper::wire::proto::{Elder, Instruction};

/// What is to be known of pods: the agent's world knows it.
pub trait Embodiment: Send + Sync {
    /// The pod that a peer is a process of, and the NodeProxy that it embodies.
    fn pod_of(&self, peer: &Peer) -> Option<(Name, String)>;

    /// For each NodeProxy the pod that is to run it.
    fn leaders(&self) -> BTreeMap<String, Name>;
}

/// A keeper in a pod.
#[derive(Debug)]
pub(super) struct PodKeeper {
    session: Session,
    state: State,
    /// The Envoy that it was told to take over from.
    elder: Option<Elder>,
}

// === impl Shared ===

impl Shared {
    /// Tells every keeper in a pod what there is to tell.
    pub(super) fn lead(&self, leaders: &BTreeMap<String, Name>) {
        let mut book = self.book();
        book.entries.retain(|name, entry| entry.lead(leaders.get(name)));
        self.publish(&book);
    }
}

// === impl Book ===

impl Book {
    /// Attaches a keeper in a pod, in place of an older session of it; the session's id.
    pub(super) fn attach_pod(&mut self, pod: Name, state: State, sender: super::book::Teller) -> u64 {
        let id = self.next_session();
        let session = Session { id, sender, told: None, outdated: false };
        let entry = self.entries.entry(state.name.clone()).or_default();
        entry.pods.insert(pod, PodKeeper { session, state, elder: None });
        id
    }

    /// Takes a report of session `id` of a pod; a replaced session is not heard.
    pub(super) fn report_pod(&mut self, pod: &Name, id: u64, state: State) {
        let keepers = self.entries.get_mut(&state.name).map(|entry| &mut entry.pods);
        if let Some(keeper) = keepers.and_then(|pods| pods.get_mut(pod)).filter(|k| k.session.id == id) {
            keeper.hear(state);
        }
    }

    /// Ends session `id` of a pod, unless it was replaced.
    pub(super) fn detach_pod(&mut self, name: &str, pod: &Name, id: u64) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.pods.retain(|one, keeper| one != pod || keeper.session.id != id);
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Tells the leader what is wanted, or everybody that nothing is; whether the proxy stays in the book.
    fn lead(&mut self, leader: Option<&Name>) -> bool {
        match (&self.wish, leader) {
            (Some(wish @ Wish::Run(_)), Some(leader)) => {
                let elder = self.pods.get(leader).and_then(|keeper| self.elder_of(leader, keeper));
                if let Some(keeper) = self.pods.get_mut(leader) {
                    keeper.tell(wish, elder);
                }
                true
            }
            (Some(Wish::Run(_)), None) => true,
            (Some(wish @ Wish::Stop(_)), _) => {
                self.pods.values_mut().for_each(|keeper| keeper.tell(wish, None));
                !self.pods.is_empty()
            }
            (None, _) => !self.pods.is_empty(),
        }
    }

    /// The Envoy that the leader's takes over from: the one that serves in another pod.
    fn elder_of(&self, leader: &Name, keeper: &PodKeeper) -> Option<Elder> {
        let others = self.pods.iter().filter(|(pod, _)| *pod != leader).map(|(_, other)| &other.state);
        let beside = others.filter(|state| state.serves && state.netns == keeper.state.netns);
        let state = beside.max_by_key(|state| state.started_ms)?;
        Some(Elder { base_id: state.base_id?, epoch: state.epoch, concurrency: state.concurrency })
    }

    /// What is told of the proxy: how its Envoy that serves is, the youngest if there are two.
    pub(super) fn foremost(&self) -> Option<State> {
        let states = self.pods.values().map(|keeper| &keeper.state);
        let foremost =
            states.max_by_key(|state| (state.serves, state.envoy_pid.is_some(), state.started_ms))?;
        // A number of the pod's own, which means nothing outside of it.
        Some(State { envoy_pid: None, ..foremost.clone() })
    }
}

// === impl PodKeeper ===

impl PodKeeper {
    fn hear(&mut self, state: State) {
        let told = self.session.told.as_ref();
        if matches!(told, Some(Wish::Run(order)) if order.hash == state.spec_hash) {
            // Said and done: when it lets go of it, it may be told again.
            self.session.told = None;
        }
        self.state = state;
    }

    fn tell(&mut self, wish: &Wish, elder: Option<Elder>) {
        let under_way = self.session.told.as_ref() == Some(wish) && self.elder == elder;
        let done = match wish {
            Wish::Run(order) => {
                order.hash == self.state.spec_hash && (self.state.serves || self.elder == elder)
            }
            Wish::Stop(_) => false,
        };
        if under_way || done {
            return;
        }
        let mut instruction: Instruction = wish.instruction();
        if let Some(What::Spec(spec)) = &mut instruction.what {
            spec.elder = elder;
        }
        // A full channel belongs to a keeper that does not listen; it is told in a later pass.
        if self.session.sender.try_send(instruction).is_ok() {
            self.session.told = Some(wish.clone());
            self.elder = elder;
        }
    }
}
