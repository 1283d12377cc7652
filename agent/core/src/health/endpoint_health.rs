//! The state of health on this node: which Plans use which endpoint, the verdicts on it, and the result.
//!
//! Every method that changes the state returns the affected Plans. [`EndpointHealth::targets`] returns what this agent must
//! probe.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use portreeve_api::plan;
use portreeve_xds::Name;
use xxhash_rust::xxh3::xxh3_64;

use super::verdicts::{Lease, Owner, compose, fresh};
use super::{Aim, Failure, Host, Pace, Point, Target, Uses, Verdict, port_of};

mod joining;

/// Names of Plans.
type Plans = BTreeSet<Name>;

/// The known health of all endpoints that this node uses or owns.
#[derive(Default)]
pub struct EndpointHealth {
    /// This node.
    node: Name,
    points: HashMap<Point, Entry>,
    by_target: BTreeMap<Target, BTreeSet<Point>>,
    /// Points on other nodes.
    by_node: BTreeMap<Name, BTreeSet<Point>>,
    of_plan: HashMap<Name, Uses>,
    owners: HashMap<Name, Owner>,
    /// Probes requested by the hub, by resource.
    asked: BTreeMap<Name, (Target, Pace)>,
    results: HashMap<Target, Verdict>,
    lease: Lease,
    changes: u64,
    /// Counts changes that may affect [`EndpointHealth::unhealthy_here`].
    own_changes: u64,
    /// Addresses of this node's pods.
    addresses: HashMap<Name, IpAddr>,
    /// Targets of this node whose last result is no longer valid.
    lost: BTreeSet<Target>,
    /// Pods of this node that count as unhealthy although their checks succeed: their proxies have yet to get their
    /// configuration.
    joining: BTreeMap<Name, Joining>,
}

struct Entry {
    plans: BTreeMap<Name, Pace>,
    healthy: bool,
}

/// A pod that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Joining {
    /// Its usual check, at the port of its proxy. Others hear of it although nobody asked for it yet.
    target: Target,
    /// The verdict on its checks at that port.
    verdict: Verdict,
}

/// The health of a Plan's endpoints, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of endpoints.
    pub endpoints: u32,
    /// Number of endpoints without a known failure.
    pub healthy: u32,
    /// Number of endpoints without a health check. They count as healthy.
    pub unchecked: u32,
    /// Number of endpoints that the proxies check themselves. They count as healthy.
    pub by_proxy: u32,
}

// === impl EndpointHealth ===

impl EndpointHealth {
    /// Sets the name of this node.
    pub fn set_node(&mut self, node: &str) {
        self.node = node.into();
    }

    /// Sets the address at which a pod of this node is probed; `None` if it is gone or has no address.
    pub fn set_address(&mut self, uid: &Name, address: Option<IpAddr>) {
        let before = match address {
            Some(address) => self.addresses.insert(uid.clone(), address),
            None => self.addresses.remove(uid),
        };
        if before == address {
            return;
        }
        self.changes += 1;
        self.own_changes += 1;
        // Results from the old address don't apply to the new one.
        let of_pod = |target: &&Target| target.host == Host::Pod(uid.clone());
        self.lost.extend(self.results.keys().filter(of_pod).cloned());
    }

    /// Sets the endpoints that a Plan uses; empty if the Plan is gone.
    pub fn set_plan(&mut self, plan: &Name, uses: Uses) {
        let before = self.of_plan.remove(plan).unwrap_or_default();
        if before.points != uses.points {
            self.changes += 1;
            self.own_changes += 1;
            for point in before.points.keys().filter(|point| !uses.points.contains_key(*point)) {
                self.leave(plan, point);
            }
            for (point, pace) in &uses.points {
                self.enter(plan, point, *pace);
            }
        }
        if uses != Uses::default() {
            self.of_plan.insert(plan.clone(), uses);
        }
    }

    /// Sets the verdicts of a node's agent; `None` if there are none any more.
    pub fn set_health(&mut self, name: &Name, health: Option<&plan::Health>) -> Plans {
        self.changes += 1;
        match health {
            Some(health) => {
                self.owners.insert(name.clone(), Owner::new(health));
            }
            None if self.by_node.contains_key(name) => {
                self.owners.entry(name.clone()).or_default().expire();
            }
            None => {
                self.owners.remove(name);
            }
        }
        self.judge(self.by_node.get(name).cloned().unwrap_or_default())
    }

    /// Sets a probe requested by the hub; `None` if the request ends.
    pub fn set_probe(&mut self, name: &Name, probe: Option<&plan::Probe>) {
        self.changes += 1;
        self.own_changes += 1;
        self.asked.remove(name);
        let Some(probe) = probe else { return };
        let Some(port) = port_of(probe.port) else { return };
        let host = Host::Pod(probe.uid.as_str().into());
        let target = Target { host, port, path: probe.http_path.as_str().into() };
        self.asked.insert(name.clone(), (target, Pace::of_probe(probe)));
    }

    /// Records the results of this agent's own probes.
    pub fn note(&mut self, verdicts: Vec<(Target, Verdict)>) -> Plans {
        let mut touched = BTreeSet::new();
        for (target, verdict) in verdicts {
            if verdict == Verdict::Unknown {
                self.own_changes += 1;
                self.lost.insert(target);
                continue;
            }
            touched.extend(self.by_target.get(&target).into_iter().flatten().cloned());
            self.lost.remove(&target);
            let failed = verdict.failed_last();
            let failed_before = self.results.get(&target).is_some_and(Verdict::failed_last);
            match target.host {
                Host::Pod(_) => self.own_changes += 1,
                // The path to a node has failed or recovered.
                Host::Address(_) => self.changes += u64::from(failed != failed_before),
            }
            self.results.insert(target, verdict);
        }
        self.judge(touched)
    }

    /// Records that the hub answered at this time: its data on other nodes is fresh for a while.
    pub fn hub_heard(&mut self, at: Instant) -> Plans {
        let lasted = self.lease.lasts();
        self.lease.heard(at);
        if lasted { Plans::new() } else { self.judge_all() }
    }

    /// Ends the hub's lease if it has expired.
    pub fn lease_over(&mut self, now: Instant) -> Plans {
        if self.lease.end(now) { self.judge_all() } else { Plans::new() }
    }

    /// Returns when the hub's lease expires.
    pub fn lease_deadline(&self) -> Option<Instant> {
        self.lease.deadline()
    }

    /// Returns whether an endpoint has a known failure.
    pub fn failed(&self, point: &Point) -> bool {
        self.points.get(point).is_some_and(|entry| !entry.healthy)
    }

    /// Returns a counter that increases with each change that may affect the targets.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns the health of a Plan's endpoints. Two entries for the same endpoint count once.
    pub fn counts(&self, plan: &str) -> Counts {
        let Some(uses) = self.of_plan.get(plan) else { return Counts::default() };
        let failed = uses.points.keys().filter(|point| self.failed(point)).count();
        let checked = u32::try_from(uses.points.len()).unwrap_or(u32::MAX);
        let endpoints = checked + uses.unchecked + uses.by_proxy;
        let healthy = endpoints - u32::try_from(failed).unwrap_or(u32::MAX);
        Counts { endpoints, healthy, unchecked: uses.unchecked, by_proxy: uses.by_proxy }
    }

    /// Returns a counter that increases with each change that may affect [`EndpointHealth::unhealthy_here`].
    pub fn own_changes(&self) -> u64 {
        self.own_changes
    }

    /// Returns the checks of this node's endpoints without a known result, in a fixed order: those that were never
    /// made, and those that this host can't make at present or couldn't make since the endpoint's address changed.
    pub fn unknown_here(&self) -> Vec<plan::Check> {
        let used = self.by_target.keys();
        let all: BTreeSet<&Target> = self.asked.values().map(|(target, _)| target).chain(used).collect();
        let unknown =
            all.into_iter().filter(|target| self.lost.contains(target) || !self.results.contains_key(target));
        let check = |target: &Target| match &target.host {
            Host::Pod(uid) => Some(check_of(uid, target)).filter(|_| self.joining_at(target).is_none()),
            Host::Address(_) => None,
        };
        unknown.filter_map(check).collect()
    }

    /// Returns the unhealthy endpoints of this node, in a fixed order.
    pub fn unhealthy_here(&self) -> Vec<plan::Unhealthy> {
        let all: BTreeSet<&Target> = self.results.keys().chain(self.joining_targets()).collect();
        let say = |target: &Target| match (&target.host, self.verdict(target)) {
            (Host::Pod(uid), Some(Verdict::Down(failure))) => Some(unhealthy(uid, target, failure)),
            _ => None,
        };
        all.into_iter().filter_map(say).collect()
    }

    /// Returns the targets that this agent must probe, and forgets the results of all others. The result depends only
    /// on the book, so [`EndpointHealth::changes`] counts every change of it.
    pub fn targets(&mut self) -> BTreeMap<Target, Aim> {
        let mut wanted = BTreeMap::new();
        for (target, pace) in self.asked.values() {
            let Host::Pod(uid) = &target.host else { continue };
            if let Some(ip) = self.addresses.get(uid) {
                add(&mut wanted, target.clone(), (*ip, *pace));
            }
        }
        for (point, entry) in self.points.iter().filter(|(p, _)| p.remote(&self.node).is_none()) {
            let target = point.target(&self.node);
            let local = if let Host::Pod(uid) = &target.host { self.addresses.get(uid) } else { None };
            let ip = local.copied().unwrap_or(point.ip());
            add(&mut wanted, target, (ip, entry.pace()));
        }
        for (node, points) in &self.by_node {
            for point in self.direct(node, points) {
                let Some(entry) = self.points.get(point) else { continue };
                add(&mut wanted, point.target(&self.node), (point.ip(), entry.pace()));
            }
        }
        let before = self.results.len();
        self.results.retain(|target, _| wanted.contains_key(target));
        self.own_changes += u64::from(self.results.len() != before);
        self.lost.retain(|target| wanted.contains_key(target));
        wanted
    }

    /// Returns the points of another node that are probed from here: those that its agent doesn't vouch for, and one
    /// that it reports as healthy, to detect a broken path. Returns all points if one of these fails from here, or if
    /// the node has no fresh verdicts.
    fn direct<'a>(&self, node: &Name, points: &'a BTreeSet<Point>) -> Vec<&'a Point> {
        let Some(owner) = fresh(self.owners.get(node), &self.lease) else { return points.iter().collect() };
        let good = || points.iter().filter(|point| owner.vouches(point) && !owner.denies(point));
        let result = |point: &Point| self.results.get(&point.target(&self.node));
        if good().any(|point| result(point).is_some_and(Verdict::failed_last)) {
            return points.iter().collect();
        }
        // Different nodes choose different points, so together they probe more than one.
        let place =
            |point: &&Point| xxh3_64(format!("{} {}", self.node, point.target(&self.node)).as_bytes());
        let unknown = points.iter().filter(|point| !owner.vouches(point));
        good().min_by_key(place).into_iter().chain(unknown).collect()
    }

    fn enter(&mut self, plan: &Name, point: &Point, pace: Pace) {
        if let Some(entry) = self.points.get_mut(point) {
            entry.plans.insert(plan.clone(), pace);
            return;
        }
        let healthy = self.compose(point).unwrap_or(true);
        let entry = Entry { plans: BTreeMap::from([(plan.clone(), pace)]), healthy };
        self.points.insert(point.clone(), entry);
        self.by_target.entry(point.target(&self.node)).or_default().insert(point.clone());
        if let Some(node) = point.remote(&self.node) {
            self.by_node.entry(node.clone()).or_default().insert(point.clone());
        }
    }

    fn leave(&mut self, plan: &Name, point: &Point) {
        let Some(entry) = self.points.get_mut(point) else { return };
        entry.plans.remove(plan);
        if !entry.plans.is_empty() {
            return;
        }
        self.points.remove(point);
        let target = point.target(&self.node);
        if let Some(points) = self.by_target.get_mut(&target) {
            points.remove(point);
            if points.is_empty() {
                self.by_target.remove(&target);
            }
        }
        let Some(node) = point.remote(&self.node) else { return };
        if let Some(points) = self.by_node.get_mut(node) {
            points.remove(point);
            if points.is_empty() {
                self.by_node.remove(node);
            }
        }
    }

    fn compose(&self, point: &Point) -> Option<bool> {
        let target = point.target(&self.node);
        let direct = self.verdict(&target);
        let last = point.node().and_then(|node| self.owners.get(node));
        // For this node, the agent's own results count; before the first result, its last reported verdict counts.
        let fresh = point.remote(&self.node).and_then(|_| fresh(last, &self.lease));
        let fresh = fresh.filter(|owner| owner.vouches(point));
        compose(point, direct, fresh, last)
    }

    fn judge_all(&mut self) -> Plans {
        self.changes += 1;
        self.judge(self.by_node.values().flatten().cloned().collect())
    }

    fn judge(&mut self, points: BTreeSet<Point>) -> Plans {
        let mut plans = Plans::new();
        for point in points {
            let Some(healthy) = self.compose(&point) else { continue };
            let Some(entry) = self.points.get_mut(&point) else { continue };
            if entry.healthy != healthy {
                entry.healthy = healthy;
                plans.extend(entry.plans.keys().cloned());
            }
        }
        plans
    }
}

// === impl Entry ===

impl Entry {
    /// Returns the strictest pace of its users. There is at least one, because an entry is deleted with its last user.
    fn pace(&self) -> Pace {
        let all = self.plans.values().copied().reduce(Pace::stricter);
        all.unwrap_or_else(|| Pace::of_probe(&plan::Probe::default()))
    }
}

fn add(wanted: &mut BTreeMap<Target, Aim>, target: Target, (ip, pace): (IpAddr, Pace)) {
    let address = SocketAddr::new(ip, target.port);
    wanted
        .entry(target)
        .and_modify(|aim| aim.pace = aim.pace.stricter(pace))
        .or_insert(Aim { address, pace });
}

fn check_of(uid: &Name, target: &Target) -> plan::Check {
    plan::Check { uid: uid.to_string(), port: target.port.into(), http_path: target.path.to_string() }
}

fn unhealthy(uid: &Name, target: &Target, failure: &Failure) -> plan::Unhealthy {
    plan::Unhealthy {
        uid: uid.to_string(),
        port: target.port.into(),
        http_path: target.path.to_string(),
        reason: failure.reason.to_string(),
        since_ms: failure.since_ms,
    }
}
