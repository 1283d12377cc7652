//! Who has which port of which address, over all proxies of a network namespace, whatever their kind. Entry point:
//! [`Claims`]. [`strangers`] knows the processes that are no proxies.
//!
//! Of two listeners that would get the same traffic the older object's is opened, and the other is told who has the port.
//! Envoy itself would bind both and split the traffic in silence.

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
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// One port of one network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The network namespace: "host" or a pod's uid.
    pub netns: Name,
    /// UDP and TCP may share a number.
    pub transport: Transport,
    /// The number.
    pub number: u32,
}

/// A Plan's part of one proxy: what claims ports, and what the store keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The proxy's kind. A pod may hold proxies of several kinds.
    pub kind: ProxyKind,
    /// The proxy.
    pub proxy: ProxyId,
    /// The Plan's name.
    pub plan: Name,
}

/// A claim's place in the queue for a port; the smallest has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    created_ms: i64,
    plan: Name,
    position: usize,
    proxy: ProxyId,
    kind: ProxyKind,
}

/// A listener's wish for a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The port.
    pub port: Port,
    /// The addresses on which it is wanted.
    pub bind: Bind,
    /// The listener's name in the Plan.
    pub listener: String,
}

/// A wish that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The port.
    pub port: Port,
    /// The addresses on which it was wanted.
    pub bind: Bind,
    /// The Plan that has it.
    pub winner: Name,
    /// The winner's listener.
    pub winner_listener: String,
    /// The proxy that it is on.
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

/// All claims on one port, the oldest first.
#[derive(Default)]
struct Queue(BTreeMap<Rank, Claim>);

/// One listener's claim on a port.
#[derive(Clone, PartialEq, Eq)]
struct Claim {
    bind: Bind,
    listener: String,
}

/// Who keeps a claim from its port; `None`: it has the port.
type Winner = Option<(Rank, Claim)>;

// === impl Claims ===

impl Claims {
    /// Replaces an owner's wishes; answers with the other owners whose luck, or whose winner, changed.
    pub fn set(&mut self, owner: &Owner, created_ms: i64, wishes: Vec<Wish>) -> BTreeSet<Owner> {
        let old = self.owned.remove(owner).unwrap_or_default();
        let ports: BTreeSet<Port> =
            old.iter().map(|(p, _)| p).chain(wishes.iter().map(|w| &w.port)).cloned().collect();
        let before: Vec<_> = ports.iter().map(|port| self.winners(port)).collect();
        for (port, rank) in &old {
            if let Some(queue) = self.queues.get_mut(port) {
                queue.0.remove(rank);
            }
        }
        let mut claims = Vec::new();
        for (position, wish) in wishes.into_iter().enumerate() {
            let Owner { kind, proxy, plan } = owner.clone();
            let rank = Rank { created_ms, plan, position, proxy, kind };
            let claim = Claim { bind: wish.bind, listener: wish.listener };
            self.queues.entry(wish.port.clone()).or_default().0.insert(rank.clone(), claim);
            claims.push((wish.port, rank));
        }
        if !claims.is_empty() {
            self.owned.insert(owner.clone(), claims);
        }
        let mut shifted = BTreeSet::new();
        for (port, before) in ports.iter().zip(before) {
            let now = self.winners(port);
            let differs = now.iter().filter(|(rank, winner)| before.get(*rank) != Some(winner));
            shifted.extend(differs.map(|(rank, _)| rank.owner()));
            if now.is_empty() {
                self.queues.remove(port);
            }
        }
        shifted.remove(owner);
        shifted
    }

    /// Takes all claims of a proxy away; answers with the other owners whose luck, or whose winner, changed.
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

    /// An owner's listeners that did not get their port.
    pub fn denied(&self, owner: &Owner) -> BTreeMap<String, Denied> {
        let mut denied = BTreeMap::new();
        for (port, rank) in self.owned.get(owner).into_iter().flatten() {
            let Some(queue) = self.queues.get(port) else { continue };
            let Some((claim, Some((first, winner)))) = queue.0.get(rank).zip(queue.winner(rank)) else {
                continue;
            };
            let lost = Denied {
                port: port.clone(),
                bind: claim.bind,
                winner: first.plan.clone(),
                winner_listener: winner.listener.clone(),
                winner_proxy: first.proxy.clone(),
            };
            denied.insert(claim.listener.clone(), lost);
        }
        denied
    }

    /// Ports that somebody wants.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.queues.keys()
    }

    /// All who want a port.
    pub fn wanting(&self, port: &Port) -> impl Iterator<Item = Owner> + '_ {
        self.queues.get(port).into_iter().flat_map(|queue| queue.0.keys()).map(Rank::owner)
    }

    /// Each claim on a port, with who keeps it from that.
    fn winners(&self, port: &Port) -> BTreeMap<Rank, Winner> {
        let judged = self.queues.get(port).into_iter().flat_map(Queue::judged);
        let own = |(rank, winner): (&Rank, Option<(&Rank, &Claim)>)| {
            (rank.clone(), winner.map(|(rank, claim)| (rank.clone(), claim.clone())))
        };
        judged.map(own).collect()
    }
}

// === impl Queue ===

impl Queue {
    /// Each claim, oldest first, with the one that keeps it from the port. One that has no port keeps no other from it.
    fn judged(&self) -> impl Iterator<Item = (&Rank, Option<(&Rank, &Claim)>)> {
        let mut holders: Vec<(&Rank, &Claim)> = Vec::new();
        self.0.iter().map(move |(rank, claim)| {
            let winner = holders.iter().find(|(_, holder)| holder.bind.overlaps(&claim.bind)).copied();
            if winner.is_none() {
                holders.push((rank, claim));
            }
            (rank, winner)
        })
    }

    /// Who keeps a claim from the port.
    fn winner(&self, rank: &Rank) -> Option<Option<(&Rank, &Claim)>> {
        self.judged().find(|(one, _)| *one == rank).map(|(_, winner)| winner)
    }
}

// === impl Rank ===

impl Rank {
    fn owner(&self) -> Owner {
        Owner { kind: self.kind, proxy: self.proxy.clone(), plan: self.plan.clone() }
    }
}
