//! Tests of the book: whose verdict counts for an endpoint, and which targets are probed.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Instant;

use portreeve_api::plan;

use super::*;

mod joining;
mod owners;
mod wanted;

/// The health of several endpoints on the nodes `own` and `far`, with a manual clock.
struct Rig {
    book: EndpointHealth,
    now: Instant,
}

fn name(text: &str) -> Name {
    text.into()
}

/// Returns pod `i` of a node, checked at port 1233.
fn pod(node: &str, i: u8) -> Point {
    let place = Place::Pod { node: node.into(), uid: format!("{node}-{i}").into(), ip: [10, 0, 0, i].into() };
    Point { place, port: 1233, path: "".into() }
}

/// An address, checked at 1233; `None` where no agent can look.
fn outside(ip: &str) -> Option<Point> {
    Point::of_address(ip.parse().unwrap(), NonZeroU16::new(1233).unwrap(), None)
}

fn mk_pace(interval_ms: u64) -> Pace {
    Pace {
        interval: Duration::from_millis(interval_ms),
        timeout: HealthCheck::DEFAULT_TIMEOUT,
        fall: 1,
        rise: 1,
    }
}

fn mk_uses(points: &[Point]) -> Uses {
    let points = points.iter().map(|point| (point.clone(), mk_pace(500))).collect();
    Uses { points, ..Uses::default() }
}

fn down() -> Verdict {
    Verdict::Down(Failure { reason: "refused".into(), since_ms: 7 })
}

// === impl Rig ===

impl Rig {
    fn new() -> Self {
        let mut book = EndpointHealth::default();
        book.set_node("own");
        Self { book, now: Instant::now() }
    }

    /// Creates a rig whose hub has just answered.
    fn connected() -> Self {
        let mut rig = Self::new();
        rig.book.hub_heard(rig.now);
        rig
    }

    fn use_all(&mut self, plan: &str, points: &[Point]) {
        self.book.set_plan(&name(plan), mk_uses(points));
    }

    /// Records verdicts of the agent of `far`.
    fn far_says(&mut self, unhealthy: &[u8], stale: bool) -> Vec<String> {
        self.far_says_of(unhealthy, &[], stale)
    }

    /// Records verdicts of the agent of `far`, and the checks whose result it doesn't know.
    fn far_says_of(&mut self, unhealthy: &[u8], unknown: &[u8], stale: bool) -> Vec<String> {
        let one = |i: &u8| plan::Unhealthy { uid: format!("far-{i}"), port: 1233, ..Default::default() };
        let check = |i: &u8| plan::Check { uid: format!("far-{i}"), port: 1233, ..Default::default() };
        let (unhealthy, unknown) = (unhealthy.iter().map(one).collect(), unknown.iter().map(check).collect());
        let health = plan::Health { node: "far".into(), unhealthy, unknown, stale, ..Default::default() };
        shown(self.book.set_health(&name("far"), Some(&health)))
    }

    /// Records a result of this agent's own probe.
    fn probed(&mut self, point: &Point, verdict: Verdict) -> Vec<String> {
        shown(self.book.note(vec![(point.target("own"), verdict)]))
    }

    /// Returns the probed targets, by the last number of their address.
    fn targets(&mut self) -> Vec<u8> {
        let number = |aim: &Aim| match aim.address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        let mut all: Vec<u8> = self.book.targets().values().map(number).collect();
        all.sort_unstable();
        all
    }
}

fn shown(plans: BTreeSet<Name>) -> Vec<String> {
    plans.iter().map(ToString::to_string).collect()
}
