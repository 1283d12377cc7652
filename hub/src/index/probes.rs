//! The Probes that an endpoint's own node runs: one for each (pod, port, path) that at least one Plan wants checked.
//!
//! Several Plans may want the same check at different rates. It runs once, at the strictest of them: the shortest interval,
//! the shortest timeout and the fewest failures (so that every user learns of a failure within the time that it asked
//! for), and the most successes before an endpoint counts as healthy again.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use portreeve_api::model::{HealthCheck, Plan, Source};
use portreeve_api::refs::ObjectRef;
use portreeve_api::{PlanType, names, plan};
use portreeve_xds::Resource;
use prost::Message;

use super::matches::Name;
use super::node_sets::NodeSets;

/// The checks that Plans want, and the checks that nodes were asked to run.
#[derive(Default)]
pub struct Probes {
    /// Group → check on each of its endpoints → the rate that each object wants.
    wanted: HashMap<Name, BTreeMap<Target, BTreeMap<ObjectRef, Pace>>>,
    /// Pod → its node, and the checks that the node was asked to run.
    asked: HashMap<Name, Asked>,
    visited: u64,
}

/// One kind of check on an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The port to connect to.
    port: u32,
    /// The path of the HTTP GET. Empty for a plain TCP connect.
    path: String,
}

/// The rate and the thresholds of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    interval_ms: u64,
    timeout_ms: u64,
    unhealthy_threshold: u32,
    healthy_threshold: u32,
}

/// The checks that one Plan wants, by the group whose endpoints are checked.
pub type Checks = BTreeMap<(Name, Target), Pace>;

struct Asked {
    node: Name,
    targets: BTreeMap<Target, Pace>,
}

// === impl Probes ===

impl Probes {
    /// Replaces a Plan's `old` checks by `new`. Returns the groups whose endpoints have to be refreshed.
    pub fn set_plan(&mut self, key: &ObjectRef, old: &Checks, new: &Checks) -> Vec<Name> {
        let gone = old.keys().filter(|check| !new.contains_key(*check)).map(|check| (check, None));
        let put = new.iter().map(|(check, pace)| (check, Some(*pace)));
        let mut touched = Vec::new();
        for ((group, target), pace) in gone.chain(put) {
            self.visited += 1;
            let before = self.pace(group, target);
            self.set(group, target, key, pace);
            if self.pace(group, target) != before && touched.last() != Some(group) {
                touched.push(group.clone());
            }
        }
        touched
    }

    /// Asks the node of a pod to run the checks wanted for it. `place` is `None` while the pod is not an endpoint.
    pub fn refresh(&mut self, uid: &Name, place: Option<(Name, Vec<Name>)>, nodes: &mut NodeSets) {
        let Some((node, groups)) = place else {
            if let Some(old) = self.asked.remove(uid) {
                old.targets.keys().for_each(|target| old.take_away(uid, target, nodes));
            }
            return;
        };
        let targets = self.targets_of(&groups);
        let old = self.asked.remove(uid);
        let moved = old.as_ref().is_some_and(|old| old.node != node);
        for (target, pace) in &targets {
            let held = old.as_ref().filter(|_| !moved).and_then(|old| old.targets.get(target));
            if held != Some(pace) {
                nodes.put(&node, PlanType::Probe, resource(uid, target, *pace));
            }
        }
        if let Some(old) = old {
            let gone = old.targets.keys().filter(|target| moved || !targets.contains_key(*target));
            gone.for_each(|target| old.take_away(uid, target, nodes));
        }
        if !targets.is_empty() {
            self.asked.insert(uid.clone(), Asked { node, targets });
        }
    }

    /// The number of entries visited since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.visited
    }

    fn targets_of(&mut self, groups: &[Name]) -> BTreeMap<Target, Pace> {
        let mut targets: BTreeMap<Target, Pace> = BTreeMap::new();
        for wanted in groups.iter().filter_map(|group| self.wanted.get(group)) {
            for (target, users) in wanted {
                self.visited += 1;
                let Some(pace) = strictest(users.values().copied()) else { continue };
                let merged = targets.get(target).map_or(pace, |other| pace.and(*other));
                targets.insert(target.clone(), merged);
            }
        }
        targets
    }

    fn pace(&self, group: &Name, target: &Target) -> Option<Pace> {
        strictest(self.wanted.get(group)?.get(target)?.values().copied())
    }

    fn set(&mut self, group: &Name, target: &Target, key: &ObjectRef, pace: Option<Pace>) {
        let wanted = self.wanted.entry(group.clone()).or_default();
        let users = wanted.entry(target.clone()).or_default();
        match pace {
            Some(pace) => users.insert(key.clone(), pace),
            None => users.remove(key),
        };
        if users.is_empty() {
            wanted.remove(target);
        }
        if wanted.is_empty() {
            self.wanted.remove(group);
        }
    }
}

// === impl Asked ===

impl Asked {
    fn take_away(&self, uid: &Name, target: &Target, nodes: &mut NodeSets) {
        nodes.take_away(&self.node, PlanType::Probe, name(uid, target));
    }
}

// === impl Pace ===

impl Pace {
    /// Reads the rate and thresholds of a cluster's health check.
    fn of(check: &HealthCheck) -> Self {
        let ms = |time: Option<Duration>| time.map_or(0, |time| time.as_millis() as u64);
        let count = |threshold: Option<NonZeroU32>| threshold.map_or(0, NonZeroU32::get);
        Self {
            interval_ms: ms(check.interval),
            timeout_ms: ms(check.timeout),
            unhealthy_threshold: count(check.unhealthy_threshold),
            healthy_threshold: count(check.healthy_threshold),
        }
    }

    /// Returns the stricter of both in each respect.
    fn and(self, other: Self) -> Self {
        Self {
            interval_ms: self.interval_ms.min(other.interval_ms),
            timeout_ms: self.timeout_ms.min(other.timeout_ms),
            unhealthy_threshold: self.unhealthy_threshold.min(other.unhealthy_threshold),
            healthy_threshold: self.healthy_threshold.max(other.healthy_threshold),
        }
    }
}

fn strictest(paces: impl Iterator<Item = Pace>) -> Option<Pace> {
    paces.reduce(Pace::and)
}

/// The checks that a Plan wants: on endpoints with a health port, in clusters with a health check.
pub fn checks_of(plan: &Plan) -> Checks {
    let mut checks = Checks::new();
    for cluster in &plan.clusters {
        let Some(check) = &cluster.health_check else { continue };
        let checked = cluster.endpoints.iter().filter_map(|source| match &source.from {
            Source::Group(group) => Some((group, source.health_port?)),
            _ => None,
        });
        for (group, port) in checked {
            let path = check.http_path.as_deref().unwrap_or_default().to_owned();
            let (target, pace) = (Target { port: port.get().into(), path }, Pace::of(check));
            let merged = checks.entry((group.clone(), target)).or_insert(pace);
            *merged = merged.and(pace);
        }
    }
    checks
}

fn name(uid: &Name, target: &Target) -> Name {
    names::probe_name(uid, target.port, &target.path)
}

fn resource(uid: &Name, target: &Target, pace: Pace) -> Arc<Resource> {
    let probe = plan::Probe {
        uid: uid.to_string(),
        port: target.port,
        http_path: target.path.clone(),
        interval_ms: pace.interval_ms,
        timeout_ms: pace.timeout_ms,
        unhealthy_threshold: pace.unhealthy_threshold,
        healthy_threshold: pace.healthy_threshold,
    };
    Resource::new(PlanType::Probe, name(uid, target), &probe.encode_to_vec())
}
