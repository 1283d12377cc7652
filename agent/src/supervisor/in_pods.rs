//! Keepers in pods of gateways: the agent starts and ends none of them, it tells the one that leads what to run, and which Envoy to
//! take over from.

use std::collections::BTreeMap;

use portreeve_keeper::State;
use portreeve_keeper::proto::Elder;
use portreeve_xds::Name;

use super::inner::Inner;
use super::pod_keeper::PodKeeper;
use super::roster::{Entry, Roster};
use super::session::{Session, Teller, Wish};

// === impl Inner ===

impl Inner {
    /// Tells every keeper in a pod what there is to tell.
    pub(super) fn lead(&self, leaders: &BTreeMap<String, Name>) {
        let mut roster = self.roster();
        roster.entries.retain(|name, entry| entry.lead(leaders.get(name)));
        self.publish(&roster);
    }
}

// === impl Roster ===

impl Roster {
    /// Attaches a keeper in a pod, in place of an older session of it; the session's id.
    pub(super) fn attach_pod(&mut self, pod: Name, state: State, sender: Teller, user: Option<u32>) -> u64 {
        let id = self.next_session();
        let session = Session { id, sender, told: None, outdated: false };
        let entry = self.entries.entry(state.name.clone()).or_default();
        entry.pods.insert(pod, PodKeeper { session, state, elder: None, user });
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
    /// Tells the leader what is wanted, or everybody that nothing is; whether the proxy stays in the roster.
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

    /// The pod whose Envoy serves, or at least runs; of two the younger.
    fn foremost(&self) -> Option<(&Name, &PodKeeper)> {
        let rank = |state: &State| (state.serves, state.envoy_pid.is_some(), state.started_ms);
        self.pods.iter().max_by_key(|(_, keeper)| rank(&keeper.state))
    }

    /// The pod whose Envoy serves.
    pub(super) fn serving(&self) -> Option<(&Name, &PodKeeper)> {
        self.foremost().filter(|(_, keeper)| keeper.state.serves)
    }

    /// What is told of the proxy: how its Envoy is.
    pub(super) fn shown(&self) -> Option<State> {
        // Without a number of the pod's own, which means nothing outside of it.
        self.foremost().map(|(_, keeper)| State { envoy_pid: None, ..keeper.state.clone() })
    }
}

#[cfg(test)]
mod tests {
    use portreeve_keeper::State;
    use portreeve_keeper::proto::instruction::What;
    use portreeve_keeper::proto::{Elder, Instruction};
    use portreeve_xds::Name;
    use tokio::sync::mpsc::{Receiver, channel};

    use super::super::roster::Roster;
    use super::super::roster::tests::mk_order;
    use super::super::session::Wish;

    struct Rig {
        roster: Roster,
        wish: Wish,
    }

    fn untold(netns: u64) -> State {
        State::untold("gateway", 1, netns)
    }

    /// One that serves with what is wanted.
    fn serving(epoch: u32) -> State {
        let state =
            State { serves: true, base_id: Some(7), epoch, concurrency: 2, envoy_pid: Some(9), ..untold(1) };
        State { spec_hash: "one".into(), started_ms: Some(u64::from(epoch)), ..state }
    }

    impl Rig {
        fn new() -> Self {
            let mut roster = Roster::default();
            let wish = Wish::Run(mk_order(None));
            roster.wish("gateway", wish.clone());
            Self { roster, wish }
        }

        fn attach(&mut self, pod: &str, state: State) -> (u64, Receiver<Instruction>) {
            let (sender, receiver) = channel(4);
            (self.roster.attach_pod(pod.into(), state, sender, Some(101)), receiver)
        }

        fn lead(&mut self, leader: &str) -> bool {
            let leader = Name::from(leader);
            self.roster.entries.get_mut("gateway").is_some_and(|entry| entry.lead(Some(&leader)))
        }
    }

    /// What a keeper is told: the elder of a spec, or that nothing is wanted.
    fn told(instructions: &mut Receiver<Instruction>) -> Option<Option<Elder>> {
        match instructions.try_recv().ok()?.what? {
            What::Spec(spec) => Some(spec.elder),
            What::Stop(_) => Some(None),
            What::Renew(_) | What::Ask(_) | What::Sockets(_) => None,
        }
    }

    #[test]
    fn only_the_leader_is_told_and_once() {
        let mut rig = Rig::new();
        let ((_, mut old), (young, mut new)) = (rig.attach("old", untold(1)), rig.attach("young", untold(1)));
        assert!(rig.lead("young") && rig.lead("young"));
        assert_eq!((told(&mut old), told(&mut new), told(&mut new)), (None, Some(None), None));
        rig.roster.report_pod(&"young".into(), young, serving(0));
        assert!(rig.lead("young"));
        assert_eq!(told(&mut new), None);
    }

    #[test]
    fn leader_is_told_whom_to_take_over_from_and_anew_when_that_changes_before_it_serves() {
        let mut rig = Rig::new();
        let ((old, mut elder), (young, mut heir)) =
            (rig.attach("old", serving(3)), rig.attach("young", untold(1)));
        rig.lead("young");
        let of = |epoch| Some(Elder { base_id: 7, epoch, concurrency: 2 });
        assert_eq!((told(&mut heir), told(&mut elder)), (Some(of(3)), None));
        rig.roster.report_pod(&"old".into(), old, serving(0));
        rig.lead("young");
        assert_eq!(told(&mut heir), Some(of(0)));
        rig.roster.report_pod(&"young".into(), young, serving(1));
        rig.roster.report_pod(
            &"old".into(),
            old,
            State { spec_hash: String::new(), serves: false, ..serving(0) },
        );
        rig.lead("young");
        assert_eq!((told(&mut heir), told(&mut elder)), (None, None));
        // The rollout is taken back: the old pod leads again, behind the young one.
        rig.lead("old");
        assert_eq!(told(&mut elder), Some(of(1)));
    }

    #[test]
    fn envoy_of_another_network_is_nobodys_elder() {
        let mut rig = Rig::new();
        let (_, mut heir) = (rig.attach("old", serving(3)), rig.attach("young", untold(2)).1);
        rig.lead("young");
        assert_eq!(told(&mut heir), Some(None));
    }

    #[test]
    fn keeper_that_is_back_with_what_is_wanted_is_told_nothing_and_all_are_told_to_stop() {
        let mut rig = Rig::new();
        let ((_, mut old), (id, mut new)) = (rig.attach("old", serving(0)), rig.attach("young", serving(1)));
        rig.lead("young");
        assert_eq!((told(&mut old), told(&mut new)), (None, None));
        assert_eq!(
            rig.roster.status()["gateway"].state.as_ref().map(|state| (state.epoch, state.envoy_pid)),
            Some((1, None))
        );
        rig.roster.wish("gateway", Wish::Stop(std::time::Duration::ZERO));
        assert!(rig.lead("young") && told(&mut old).is_some() && told(&mut new).is_some());
        rig.roster.detach_pod("gateway", &"young".into(), id);
        assert!(rig.lead("young"), "one is left");
        rig.roster.wish("gateway", rig.wish.clone());
        rig.lead("old");
        assert!(told(&mut old).is_some(), "wanted again");
    }
}
