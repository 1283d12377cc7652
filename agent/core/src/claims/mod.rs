//! Port claims of all proxies of all kinds, per network namespace, address and port. Entry point: [`Claims`].
//! [`strangers`] covers processes that are not proxies.
//!
//! If two listeners would receive the same traffic, only the older object's listener is opened. The other
//! object's status names the winner. Envoy itself would bind both and silently split the traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use crate::translate::ProxyKind;
use crate::translate::bind::{Bind, Part};

pub mod strangers;
#[cfg(test)]
mod tests;

/// A transport's port space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// One port of one network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The network namespace: "host" or a pod's uid.
    pub netns: Name,
    /// The transport. UDP and TCP have separate port numbers.
    pub transport: Transport,
    /// The port number.
    pub number: u32,
}

/// A Plan on one proxy. Owners claim ports, and the store has one entry for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The proxy's kind. A pod may run proxies of several kinds.
    pub kind: ProxyKind,
    /// The proxy.
    pub proxy: ProxyId,
    /// The Plan's name.
    pub plan: Name,
}

/// A claim's position in the queue for a port; the smallest rank wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    created_ms: i64,
    plan: Name,
    position: usize,
    proxy: ProxyId,
    kind: ProxyKind,
}

/// A listener's request for a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The port.
    pub port: Port,
    /// The addresses that the listener binds.
    pub bind: Bind,
    /// The listener's name in the Plan.
    pub listener: String,
}

/// A request that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The port.
    pub port: Port,
    /// The addresses that the listener would bind.
    pub bind: Bind,
    /// The Plan that has the port.
    pub winner: Name,
    /// The winner's listener.
    pub winner_listener: String,
    /// The winner's proxy.
    pub winner_proxy: ProxyId,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.port.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        let (number, winner, listener) = (self.port.number, &self.winner, &self.winner_listener);
        write!(f, "{transport} port {number}")?;
        if matches!(self.bind, Bind { v4: Part::One(_), .. } | Bind { v6: Part::One(_), .. }) {
            write!(f, " of {}", self.bind)?;
        }
        write!(f, " is taken by the older {winner}/{listener} on {}", self.winner_proxy)
    }
}

/// All claims on the node.
#[derive(Default)]
pub struct Claims {
    queues: BTreeMap<Port, Queue>,
    owned: BTreeMap<Owner, Vec<(Port, Rank)>>,
}

/// All claims on one port.
#[derive(Default)]
struct Queue {
    /// All claims, oldest first.
    claims: BTreeMap<Rank, Claim>,
    /// The claims that have the port.
    holders: BTreeSet<Rank>,
    /// Number of claims judged so far.
    #[cfg(test)]
    judged: usize,
}

/// One listener's claim on a port.
struct Claim {
    bind: Bind,
    listener: String,
    /// The claim that has the port instead, with its listener; `None` if this claim has the port.
    winner: Option<(Rank, String)>,
}

// === impl Claims ===

impl Claims {
    /// Replaces an owner's requests. Returns the other owners that gained or lost a port, or lost it to a
    /// different winner than before.
    pub fn set(&mut self, owner: &Owner, created_ms: i64, wishes: Vec<Wish>) -> BTreeSet<Owner> {
        let old = self.owned.remove(owner).unwrap_or_default();
        let mut oldest: BTreeMap<Port, Rank> = BTreeMap::new();
        let mut touch = |port: &Port, rank: &Rank| {
            let known = oldest.entry(port.clone()).or_insert_with(|| rank.clone());
            if rank < known {
                *known = rank.clone();
            }
        };
        for (port, rank) in &old {
            touch(port, rank);
            if let Some(queue) = self.queues.get_mut(port) {
                queue.claims.remove(rank);
            }
        }
        let mut claims = Vec::new();
        for (position, wish) in wishes.into_iter().enumerate() {
            let Owner { kind, proxy, plan } = owner.clone();
            let rank = Rank { created_ms, plan, position, proxy, kind };
            touch(&wish.port, &rank);
            let claim = Claim { bind: wish.bind, listener: wish.listener, winner: None };
            self.queues.entry(wish.port.clone()).or_default().claims.insert(rank.clone(), claim);
            claims.push((wish.port, rank));
        }
        if !claims.is_empty() {
            self.owned.insert(owner.clone(), claims);
        }
        let mut shifted = BTreeSet::new();
        for (port, from) in oldest {
            let Some(queue) = self.queues.get_mut(&port) else { continue };
            shifted.extend(queue.judge(&from));
            if queue.claims.is_empty() {
                self.queues.remove(&port);
            }
        }
        shifted.remove(owner);
        shifted
    }

    /// Removes all claims of a proxy. Returns the other owners that gained or lost a port, or lost it to a
    /// different winner than before.
    pub fn drop_proxy(&mut self, kind: ProxyKind, proxy: &ProxyId) -> BTreeSet<Owner> {
        let its = |owner: &Owner| owner.kind == kind && owner.proxy == *proxy;
        let from = Owner { kind, proxy: proxy.clone(), plan: "".into() };
        let owned = self.owned.range(from..).take_while(|(owner, _)| its(owner));
        let owners: Vec<Owner> = owned.map(|(owner, _)| owner.clone()).collect();
        let mut shifted: BTreeSet<Owner> =
            owners.iter().flat_map(|owner| self.set(owner, 0, Vec::new())).collect();
        shifted.retain(|owner| !its(owner));
        shifted
    }

    /// Returns an owner's listeners that did not get their port.
    pub fn denied(&self, owner: &Owner) -> BTreeMap<String, Denied> {
        let mut denied = BTreeMap::new();
        for (port, rank) in self.owned.get(owner).into_iter().flatten() {
            let claim = self.queues.get(port).and_then(|queue| queue.claims.get(rank));
            let Some((claim, (winner, winner_listener))) = claim.and_then(|c| Some((c, c.winner.as_ref()?)))
            else {
                continue;
            };
            let lost = Denied {
                port: port.clone(),
                bind: claim.bind,
                winner: winner.plan.clone(),
                winner_listener: winner_listener.clone(),
                winner_proxy: winner.proxy.clone(),
            };
            denied.insert(claim.listener.clone(), lost);
        }
        denied
    }

    /// Returns the claimed ports.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.queues.keys()
    }

    /// Returns all owners with a claim on a port.
    pub fn wanting(&self, port: &Port) -> impl Iterator<Item = Owner> + '_ {
        self.queues.get(port).into_iter().flat_map(|queue| queue.claims.keys()).map(Rank::owner)
    }
}

// === impl Queue ===

impl Queue {
    /// Judges the claims from this rank on; older claims do not depend on younger ones. A claim without the
    /// port does not block others. Returns the owners that gained or lost the port, or lost it to a different
    /// winner than before.
    fn judge(&mut self, from: &Rank) -> BTreeSet<Owner> {
        self.holders.split_off(from);
        let holder = |rank: &Rank| {
            self.claims.get(rank).map(|claim| (rank.clone(), claim.bind, claim.listener.clone()))
        };
        let mut holders: Vec<(Rank, Bind, String)> = self.holders.iter().filter_map(holder).collect();
        let mut shifted = BTreeSet::new();
        for (rank, claim) in self.claims.range_mut(from..) {
            #[cfg(test)]
            {
                self.judged += 1;
            }
            let first = holders.iter().find(|(_, bind, _)| bind.overlaps(&claim.bind));
            let winner = first.map(|(rank, _, listener)| (rank.clone(), listener.clone()));
            if winner.is_none() {
                holders.push((rank.clone(), claim.bind, claim.listener.clone()));
                self.holders.insert(rank.clone());
            }
            if claim.winner != winner {
                claim.winner = winner;
                shifted.insert(rank.owner());
            }
        }
        shifted
    }
}

// === impl Rank ===

impl Rank {
    fn owner(&self) -> Owner {
        Owner { kind: self.kind, proxy: self.proxy.clone(), plan: self.plan.clone() }
    }
}
