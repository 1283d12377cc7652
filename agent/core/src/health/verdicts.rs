//! Whose verdict counts for an endpoint: the agent of its node while its verdicts are fresh, otherwise this agent's own
//! probe; a failure that this agent sees itself always counts. Entry point: [`compose`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_api::plan;
use portreeve_xds::Name;

use super::{Place, Point, Verdict, port_of};

/// How long the owners' verdicts stay fresh without an answer from the hub.
pub const LEASE: Duration = Duration::from_secs(2);

/// The verdicts of a node's own agent on its endpoints.
#[derive(Debug, Default)]
pub struct Owner {
    /// Whether the hub marks the verdicts as fresh.
    fresh: bool,
    unhealthy: BTreeSet<Key>,
    /// Checks that the agent doesn't vouch for.
    unknown: BTreeSet<Key>,
    /// The agent vouches only for the endpoints that it reports as unhealthy.
    more_unknown: bool,
}

/// A check of an endpoint: the pod's uid, the port, the path.
type Key = (Name, u16, Arc<str>);

/// The time until which the hub's data on other nodes is fresh.
#[derive(Debug, Default)]
pub struct Lease {
    until: Option<Instant>,
}

// === impl Owner ===

impl Owner {
    /// Reads a node's Health resource.
    pub fn new(health: &plan::Health) -> Self {
        let unhealthy = health.unhealthy.iter().filter_map(|u| key(&u.uid, u.port, &u.http_path));
        let unknown = health.unknown.iter().filter_map(|u| key(&u.uid, u.port, &u.http_path));
        Self {
            fresh: !health.stale,
            unhealthy: unhealthy.collect(),
            unknown: unknown.collect(),
            more_unknown: health.more_unknown,
        }
    }

    /// The verdicts are no longer updated: they still apply, but are not fresh.
    pub fn expire(&mut self) {
        self.fresh = false;
    }

    /// Returns whether the agent reported a point as unhealthy.
    pub fn denies(&self, point: &Point) -> bool {
        point_key(point).is_some_and(|key| self.unhealthy.contains(&key))
    }

    /// Returns whether the agent knows a point's state, healthy or not.
    pub fn vouches(&self, point: &Point) -> bool {
        let Some(key) = point_key(point) else { return false };
        !self.unknown.contains(&key) && (!self.more_unknown || self.unhealthy.contains(&key))
    }
}

fn key(uid: &str, port: u32, path: &str) -> Option<Key> {
    Some((uid.into(), port_of(port)?, path.into()))
}

fn point_key(point: &Point) -> Option<Key> {
    let Place::Pod { uid, .. } = &point.place else { return None };
    Some((uid.clone(), point.port, point.path.clone()))
}

// === impl Lease ===

impl Lease {
    /// Records an answer of the hub.
    pub fn heard(&mut self, at: Instant) {
        self.until = self.until.max(Some(at + LEASE));
    }

    /// Returns when the lease ends; `None` if it has ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Ends the lease if it has expired. Returns whether it ended now.
    pub fn end(&mut self, now: Instant) -> bool {
        let over = self.deadline().is_some_and(|until| until <= now);
        if over {
            self.until = None;
        }
        over
    }

    /// Returns whether the lease is valid.
    pub fn lasts(&self) -> bool {
        self.until.is_some()
    }
}

/// Returns an owner's verdicts if they are fresh.
pub fn fresh<'a>(owner: Option<&'a Owner>, lease: &Lease) -> Option<&'a Owner> {
    owner.filter(|owner| owner.fresh && lease.lasts())
}

/// Returns whether a point is healthy; `None` if its state doesn't change. `direct` is the result of this agent's own
/// probes. `fresh` are the fresh verdicts of another node's agent that vouches for the point. `last` are the last
/// verdicts of the point's node, including this node's own before a restart.
pub fn compose(
    point: &Point,
    direct: Option<&Verdict>,
    fresh: Option<&Owner>,
    last: Option<&Owner>,
) -> Option<bool> {
    match (fresh, direct) {
        (Some(owner), direct) => Some(!owner.denies(point) && !matches!(direct, Some(Verdict::Down(_)))),
        (None, Some(Verdict::Up)) => Some(true),
        (None, Some(Verdict::Down(_))) => Some(false),
        // Before the threshold is reached, nothing is known.
        (None, Some(Verdict::Failing | Verdict::Unknown)) => None,
        (None, None) => match last {
            Some(owner) if owner.denies(point) => Some(false),
            last => last.filter(|owner| owner.vouches(point)).map(|_| true),
        },
    }
}
