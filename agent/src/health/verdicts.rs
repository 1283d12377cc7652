//! Whose word counts for an endpoint: its own node's agent while that word is fresh, this agent's own probe otherwise,
//! and a failure that this agent sees itself in any case. Entry point: [`compose`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_api::plan;
use portreeve_xds::Name;

use super::{Place, Point, Verdict, port_of};

/// How long the hub's silence leaves the owners' words fresh.
pub const LEASE: Duration = Duration::from_secs(2);

/// What a node's own agent said of its endpoints.
#[derive(Debug, Default)]
pub struct Owner {
    /// The hub says that the word is fresh.
    fresh: bool,
    unhealthy: BTreeSet<Key>,
    /// What it does not vouch for.
    unknown: BTreeSet<Key>,
    /// It vouches for nothing but what it calls unhealthy.
    more_unknown: bool,
}

/// A check of an endpoint: the pod's uid, the port, the path.
type Key = (Name, u16, Arc<str>);

/// Until when the hub speaks for the owners.
#[derive(Debug, Default)]
pub struct Lease {
    until: Option<Instant>,
}

// === impl Owner ===

impl Owner {
    /// What a node's Health resource says.
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

    /// Nobody speaks for the node any more: what was said stands, but is not fresh.
    pub fn expire(&mut self) {
        self.fresh = false;
    }

    /// Whether it said that a point is not healthy.
    pub fn denies(&self, point: &Point) -> bool {
        point_key(point).is_some_and(|key| self.unhealthy.contains(&key))
    }

    /// Whether it knows how a point is, healthy or not.
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
    /// The hub was heard then.
    pub fn heard(&mut self, at: Instant) {
        self.until = self.until.max(Some(at + LEASE));
    }

    /// When it ends; none: it is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Ends it if its time is over; whether it ended now.
    pub fn end(&mut self, now: Instant) -> bool {
        let over = self.deadline().is_some_and(|until| until <= now);
        if over {
            self.until = None;
        }
        over
    }

    /// Whether it lasts.
    pub fn lasts(&self) -> bool {
        self.until.is_some()
    }
}

/// An owner's word, if it is fresh.
pub fn fresh<'a>(owner: Option<&'a Owner>, lease: &Lease) -> Option<&'a Owner> {
    owner.filter(|owner| owner.fresh && lease.lasts())
}

/// Whether a point is healthy; none: as it was. `direct` is what this agent's own probes say, `fresh` the fresh word of
/// another node's agent that vouches for the point, `last` the last word of the point's node, this one's before a restart
/// among them.
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
        // Below the threshold nothing is known yet.
        (None, Some(Verdict::Failing | Verdict::Unknown)) => None,
        (None, None) => match last {
            Some(owner) if owner.denies(point) => Some(false),
            last => last.filter(|owner| owner.vouches(point)).map(|_| true),
        },
    }
}
