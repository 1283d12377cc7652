//! Which agent holds what, and how long each change took to the last agent that it concerns. Entry point: [`Ledger`].
//!
//! Only the content of resources counts, not how the hub slices groups: a pod is present on an agent once a slice with its
//! uid arrived, and absent once the slices that had it arrived without it or were removed. Each version of a resource is
//! decoded once for all agents.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use portreeve_api::PlanType;
use portreeve_api::plan::endpoint_source::From;
use portreeve_api::plan::{EndpointSlice, Plan};
use portreeve_xds::{Delta, Name, Version};
use prost::Message;

use super::pod;
use super::shape::service_of;

/// Number of versions of a resource whose content is kept.
const VERSIONS: usize = 4;
/// Distinguishes the marks of Plans from those of pods.
const PLAN: u64 = 1 << 63;

/// What a resource contains: the sorted marks of pods, or the mark of a Plan.
type Marks = Arc<[u64]>;

/// The ledger of all agents.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    agents: Vec<Agent>,
    /// The newest versions of each resource.
    contents: HashMap<Name, VecDeque<(Version, Marks)>>,
    /// The resources that contain or contained a mark.
    places: HashMap<u64, BTreeSet<Name>>,
    /// Marks that agents don't have yet.
    coming: HashMap<u64, Change>,
    /// Marks that agents still have, with the resources that contain them.
    going: HashMap<u64, Leaving>,
    /// The marks in `going`, by resource.
    going_by_name: HashMap<Name, HashSet<u64>>,
    /// Marks of changes that are expected, but not sent yet.
    unsent: Vec<u64>,
    /// The times to the last agent.
    done: Vec<Duration>,
}

/// What an agent holds.
#[derive(Clone, Debug, Default)]
struct Agent {
    plans: usize,
    endpoints: usize,
    /// The contents of the slices and Plans that it holds.
    holds: HashMap<Name, Marks>,
    bytes: u64,
    received: u64,
}

/// A change that some agents don't have yet.
struct Change {
    since: Instant,
    missing: Agents,
}

/// A mark that some agents still have.
struct Leaving {
    since: Instant,
    /// The agents that still have the mark, by resource.
    missing: Vec<(Name, Agents)>,
}

/// A set of agents.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Agents {
    bits: Vec<u64>,
    left: usize,
}

/// What an agent has received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Number of Plans that it holds.
    pub plans: usize,
    /// Number of endpoints in all slices that it holds.
    pub endpoints: usize,
    /// Size of all resources that it received, in bytes.
    pub bytes: u64,
    /// Number of resources that it received.
    pub received: u64,
}

// === impl Agent ===

impl Agent {
    fn has(&self, name: &Name, mark: u64) -> bool {
        self.holds.get(name).is_some_and(|marks| marks.binary_search(&mark).is_ok())
    }
}

// === impl Agents ===

impl Agents {
    /// Returns the set of those among the first agents that `is_in` it.
    fn among(agents: &[Agent], is_in: impl Fn(&Agent) -> bool) -> Self {
        let mut set = Self { bits: vec![0; agents.len().div_ceil(64)], left: 0 };
        for (place, _) in agents.iter().enumerate().filter(|(_, agent)| is_in(agent)) {
            set.bits[place / 64] |= 1 << (place % 64);
            set.left += 1;
        }
        set
    }

    /// Removes an agent.
    fn remove(&mut self, agent: usize) {
        let Some(word) = self.bits.get_mut(agent / 64) else { return };
        let bit = 1 << (agent % 64);
        self.left -= usize::from(*word & bit != 0);
        *word &= !bit;
    }
}

// === impl Ledger ===

impl Ledger {
    /// Creates a ledger for this number of agents.
    pub fn new(agents: usize) -> Self {
        let state = State { agents: vec![Agent::default(); agents], ..State::default() };
        Self { state: Mutex::new(state) }
    }

    /// Expects that those of the first agents that lack a mark get it. Agents that have it need nothing, also if an earlier
    /// change that takes it from them is under way: both changes together are none.
    pub fn expect(&self, mark: u64, agents: usize) {
        let mut state = self.state();
        state.leave_off(mark);
        let places = state.places.get(&mark).cloned().unwrap_or_default();
        let lacks = |agent: &Agent| !places.iter().any(|place| agent.has(place, mark));
        let missing = Agents::among(&state.agents[..agents], lacks);
        if missing.left > 0 {
            state.coming.insert(mark, Change { since: Instant::now(), missing });
            state.unsent.push(mark);
        }
    }

    /// Expects that those of the first agents that have a mark lose it.
    pub fn expect_gone(&self, mark: u64, agents: usize) {
        let mut state = self.state();
        state.leave_off(mark);
        let mut missing = Vec::new();
        for place in state.places.get(&mark).cloned().unwrap_or_default() {
            let having = Agents::among(&state.agents[..agents], |agent| agent.has(&place, mark));
            if having.left > 0 {
                state.going_by_name.entry(place.clone()).or_default().insert(mark);
                missing.push((place, having));
            }
        }
        if !missing.is_empty() {
            state.going.insert(mark, Leaving { since: Instant::now(), missing });
            state.unsent.push(mark);
        }
    }

    /// Notes that the expected changes are sent now.
    pub fn sent(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        for mark in std::mem::take(&mut state.unsent) {
            state.coming.get_mut(&mark).into_iter().for_each(|change| change.since = now);
            state.going.get_mut(&mark).into_iter().for_each(|leaving| leaving.since = now);
        }
    }

    /// Returns the number of changes that some agent doesn't have yet.
    pub fn open(&self) -> usize {
        let state = self.state();
        state.coming.len() + state.going.len()
    }

    /// Returns the times that changes took to their last agents since the last call, sorted.
    pub fn take_done(&self) -> Vec<Duration> {
        let mut done = std::mem::take(&mut self.state().done);
        done.sort();
        done
    }

    /// Returns what each agent holds.
    pub fn holdings(&self) -> Vec<Holding> {
        let holding = |agent: &Agent| {
            let Agent { plans, endpoints, bytes, received, .. } = *agent;
            Holding { plans, endpoints, bytes, received }
        };
        self.state().agents.iter().map(holding).collect()
    }

    /// Notes a response to an agent.
    pub fn note(&self, agent: usize, delta: &Delta<PlanType>) {
        let mut state = self.state();
        let state = &mut *state;
        for one in &delta.upsert {
            state.agents[agent].bytes += one.body.len() as u64;
            state.agents[agent].received += 1;
            if let Some(marks) = state.contents_of(delta.ty, (&one.name, one.version), &one.body) {
                state.hold(agent, delta.ty, (&one.name, &marks));
                state.arrived(agent, &one.name, &marks);
            }
        }
        for name in &delta.removed {
            state.drop_resource(agent, delta.ty, name);
            state.arrived(agent, name, &Marks::default());
            state.forget(name);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Returns the marks of a version, decoded by the first agent that receives it; `None` for other types.
    fn contents_of(
        &mut self,
        ty: PlanType,
        (name, version): (&Name, Version),
        body: &Bytes,
    ) -> Option<Marks> {
        let known = self.contents.get(name).into_iter().flatten().find(|(one, _)| *one == version);
        if let Some((_, marks)) = known {
            return Some(marks.clone());
        }
        let marks: Marks = match ty {
            PlanType::Slice => marks_of_slice(body).into(),
            PlanType::Plan => marks_of_plan(body).into(),
            _ => return None,
        };
        for mark in marks.iter() {
            self.places.entry(*mark).or_default().insert(name.clone());
        }
        let versions = self.contents.entry(name.clone()).or_default();
        versions.push_back((version, marks.clone()));
        if versions.len() > VERSIONS {
            versions.pop_front();
        }
        Some(marks)
    }

    /// Replaces what the agent holds of a resource.
    fn hold(&mut self, agent: usize, ty: PlanType, (name, marks): (&Name, &Marks)) {
        let agent = &mut self.agents[agent];
        let before = agent.holds.insert(name.clone(), marks.clone());
        match ty {
            PlanType::Plan => agent.plans += usize::from(before.is_none()),
            _ => agent.endpoints = agent.endpoints + marks.len() - before.map_or(0, |marks| marks.len()),
        }
    }

    fn drop_resource(&mut self, agent: usize, ty: PlanType, name: &Name) {
        let agent = &mut self.agents[agent];
        let Some(marks) = agent.holds.remove(name) else { return };
        match ty {
            PlanType::Plan => agent.plans -= 1,
            _ => agent.endpoints -= marks.len(),
        }
    }

    /// Forgets the contents of a removed resource.
    fn forget(&mut self, name: &Name) {
        for (_, marks) in self.contents.remove(name).unwrap_or_default() {
            for mark in marks.iter() {
                self.places.get_mut(mark).into_iter().for_each(|places| {
                    places.remove(name);
                });
            }
        }
    }

    /// Ends the changes that an agent has with these contents of a resource.
    fn arrived(&mut self, agent: usize, name: &Name, marks: &Marks) {
        if !self.coming.is_empty() {
            for mark in marks.iter() {
                let Some(change) = self.coming.get_mut(mark) else { continue };
                change.missing.remove(agent);
                if change.missing.left == 0 {
                    self.done.push(change.since.elapsed());
                    self.coming.remove(mark);
                }
            }
        }
        let left = self.going_by_name.get(name).into_iter().flatten();
        let left: Vec<u64> = left.filter(|mark| marks.binary_search(mark).is_err()).copied().collect();
        left.into_iter().for_each(|mark| self.left(agent, name, mark));
    }

    /// Notes that an agent has a resource without a mark that leaves it.
    fn left(&mut self, agent: usize, name: &Name, mark: u64) {
        let Some(leaving) = self.going.get_mut(&mark) else { return };
        leaving
            .missing
            .iter_mut()
            .filter(|(of, _)| of == name)
            .for_each(|(_, missing)| missing.remove(agent));
        if leaving.missing.iter().all(|(_, missing)| missing.left == 0) {
            self.done.push(leaving.since.elapsed());
            self.leave_off(mark);
        }
    }

    /// Stops to expect anything of a mark.
    fn leave_off(&mut self, mark: u64) {
        self.coming.remove(&mark);
        let Some(leaving) = self.going.remove(&mark) else { return };
        for (name, _) in leaving.missing {
            self.going_by_name.get_mut(&name).into_iter().for_each(|marks| {
                marks.remove(&mark);
            });
        }
    }
}

/// Returns the mark of a service's Plan whose endpoints have this port.
pub fn plan_mark(service: u32, port: u16) -> u64 {
    PLAN | u64::from(service) << 16 | u64::from(port)
}

/// Returns the sorted marks of a slice's pods.
fn marks_of_slice(body: &Bytes) -> Vec<u64> {
    let slice = EndpointSlice::decode(body.clone()).unwrap_or_default();
    let mut marks: Vec<u64> = slice.endpoints.iter().filter_map(|one| pod::mark(&one.uid)).collect();
    marks.sort_unstable();
    marks
}

fn marks_of_plan(body: &Bytes) -> Vec<u64> {
    let plan = Plan::decode(body.clone()).unwrap_or_default();
    let mut listeners = plan.listeners.iter().filter_map(|one| service_of(one.socket.as_ref()?.port));
    let mut endpoints = plan.clusters.iter().flat_map(|cluster| &cluster.endpoints);
    let endpoint = endpoints.find(|one| matches!(one.from, Some(From::Group(_))));
    let port = endpoint.and_then(|one| one.port.try_into().ok());
    listeners.next().zip(port).map(|(service, port)| plan_mark(service, port)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use portreeve_api::plan::Endpoint;
    use portreeve_xds::Upsert;

    use super::super::pod::Pod;
    use super::*;

    /// A response with a slice of these pods.
    fn slice(name: &str, version: u64, pods: &[u32]) -> Delta<PlanType> {
        let endpoint = |pod: &u32| Endpoint { uid: Pod::first(*pod).uid(), ..Endpoint::default() };
        let slice = EndpointSlice { endpoints: pods.iter().map(endpoint).collect(), ..Default::default() };
        let body = slice.encode_to_vec().into();
        let upsert = vec![Upsert { name: name.into(), version: Version(version), body }];
        Delta { ty: PlanType::Slice, upsert, removed: Vec::new(), watermark: None }
    }

    fn removed(name: &str) -> Delta<PlanType> {
        Delta { ty: PlanType::Slice, upsert: Vec::new(), removed: vec![name.into()], watermark: None }
    }

    #[test]
    fn change_is_done_when_its_last_agent_has_it() {
        let ledger = Ledger::new(3);
        (0..3).for_each(|agent| ledger.note(agent, &slice("a", 1, &[1, 2])));
        ledger.expect(3, 2);
        ledger.expect_gone(2, 2);
        ledger.note(0, &slice("a", 2, &[1, 3]));
        assert_eq!((ledger.open(), ledger.take_done().len()), (2, 0));
        ledger.note(1, &slice("a", 2, &[1, 3]));
        assert_eq!((ledger.open(), ledger.take_done().len()), (0, 2));
        let endpoints: Vec<usize> = ledger.holdings().iter().map(|one| one.endpoints).collect();
        assert_eq!(endpoints, [2, 2, 2]);
    }

    #[test]
    fn pod_is_gone_when_every_slice_that_had_it_is_without_it() {
        let ledger = Ledger::new(1);
        ledger.note(0, &slice("a", 1, &[1]));
        ledger.note(0, &slice("b", 1, &[1]));
        ledger.expect_gone(1, 1);
        ledger.note(0, &slice("a", 2, &[]));
        assert_eq!(ledger.open(), 1);
        ledger.note(0, &removed("b"));
        assert_eq!((ledger.open(), ledger.holdings()[0].endpoints), (0, 0));
        // No agent has it.
        ledger.expect_gone(1, 1);
        assert_eq!(ledger.open(), 0);
    }

    #[test]
    fn version_that_comes_back_counts_again() {
        let ledger = Ledger::new(1);
        ledger.note(0, &slice("a", 1, &[1]));
        for _ in 0..2 {
            ledger.expect_gone(1, 1);
            assert_eq!(ledger.open(), 1);
            ledger.note(0, &slice("a", 2, &[]));
            ledger.expect(1, 1);
            assert_eq!(ledger.open(), 1);
            ledger.note(0, &slice("a", 1, &[1]));
        }
        assert_eq!((ledger.open(), ledger.take_done().len()), (0, 4));
    }

    #[test]
    fn agent_that_skips_two_opposite_changes_lacks_nothing() {
        let ledger = Ledger::new(2);
        (0..2).for_each(|agent| ledger.note(agent, &slice("a", 1, &[1])));
        ledger.expect_gone(1, 2);
        ledger.note(0, &slice("a", 2, &[]));
        ledger.expect(1, 2);
        assert_eq!(ledger.open(), 1);
        ledger.note(0, &slice("a", 1, &[1]));
        assert_eq!((ledger.open(), ledger.take_done().len()), (0, 1));
    }
}
