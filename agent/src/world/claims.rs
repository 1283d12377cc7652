//! Ports are one space per network namespace, over all proxies of the node: the older object wins, and the other is
//! told who did. Envoy itself would bind both and split the traffic in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use portreeve_xds::Name;

use super::ProxyId;

/// A transport's port space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// One port of one network namespace. Proxies bind the wildcard address, so the address is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The network namespace: "host" or a pod's uid.
    pub netns: Name,
    /// UDP and TCP may share a number.
    pub transport: Transport,
    /// The number.
    pub number: u32,
}

/// Who claims: a Plan on a proxy.
pub type Owner = (ProxyId, Name);

/// A claim's place in the queue for a port; the smallest has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    created_ms: i64,
    plan: Name,
    position: usize,
    proxy: ProxyId,
}

/// A listener's wish for a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The port.
    pub port: Port,
    /// The listener's name in the Plan.
    pub listener: String,
}

/// A wish that was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The port.
    pub port: Port,
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
        write!(
            f,
            "{transport} port {number} is taken by the older {winner}/{listener} on {}",
            self.winner_proxy
        )
    }
}

/// All claims on the node.
#[derive(Default)]
pub struct Claims {
    queues: BTreeMap<Port, BTreeMap<Rank, String>>,
    owned: BTreeMap<Owner, Vec<(Port, Rank)>>,
}

// === impl Claims ===

impl Claims {
    /// Replaces an owner's wishes; answers with the other owners whose luck, or whose winner, changed.
    pub fn set(&mut self, owner: &Owner, created_ms: i64, wishes: Vec<Wish>) -> BTreeSet<Owner> {
        let old = self.owned.remove(owner).unwrap_or_default();
        let ports: BTreeSet<Port> =
            old.iter().map(|(p, _)| p).chain(wishes.iter().map(|w| &w.port)).cloned().collect();
        let before: Vec<_> = ports.iter().map(|p| self.first(p)).collect();
        for (port, rank) in &old {
            if let Some(queue) = self.queues.get_mut(port) {
                queue.remove(rank);
            }
        }
        let mut claims = Vec::new();
        for (position, wish) in wishes.into_iter().enumerate() {
            let rank = Rank { created_ms, plan: owner.1.clone(), position, proxy: owner.0.clone() };
            self.queues.entry(wish.port.clone()).or_default().insert(rank.clone(), wish.listener);
            claims.push((wish.port, rank));
        }
        if !claims.is_empty() {
            self.owned.insert(owner.clone(), claims);
        }
        let mut shifted = BTreeSet::new();
        for (port, before) in ports.iter().zip(before) {
            if self.first(port) != before {
                // Everyone in the queue is told who has the port, so everyone has to hear of another winner.
                let waiting = self.queues.get(port).into_iter().flatten().map(|(rank, _)| rank.owner());
                shifted.extend(waiting);
            }
            if self.queues.get(port).is_some_and(BTreeMap::is_empty) {
                self.queues.remove(port);
            }
        }
        shifted.remove(owner);
        shifted
    }

    /// Takes all claims of a proxy away; answers with the other owners whose luck, or whose winner, changed.
    pub fn drop_proxy(&mut self, proxy: &ProxyId) -> BTreeSet<Owner> {
        let from = (proxy.clone(), Name::from(""));
        let owned = self.owned.range(from..).take_while(|((id, _), _)| id == proxy);
        let owners: Vec<Owner> = owned.map(|(owner, _)| owner.clone()).collect();
        let mut shifted: BTreeSet<Owner> =
            owners.iter().flat_map(|owner| self.set(owner, 0, Vec::new())).collect();
        shifted.retain(|(id, _)| id != proxy);
        shifted
    }

    /// An owner's listeners that did not get their port.
    pub fn denied(&self, owner: &Owner) -> BTreeMap<String, Denied> {
        let mut denied = BTreeMap::new();
        for (port, rank) in self.owned.get(owner).into_iter().flatten() {
            let Some(queue) = self.queues.get(port) else { continue };
            let Some((first, winner_listener)) = queue.first_key_value() else { continue };
            if let Some(listener) = queue.get(rank).filter(|_| first != rank) {
                let lost = Denied {
                    port: port.clone(),
                    winner: first.plan.clone(),
                    winner_listener: winner_listener.clone(),
                    winner_proxy: first.proxy.clone(),
                };
                denied.insert(listener.clone(), lost);
            }
        }
        denied
    }

    /// Ports that somebody wants.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.queues.keys()
    }

    /// All who want a port.
    pub fn wanting(&self, port: &Port) -> impl Iterator<Item = Owner> + '_ {
        self.queues.get(port).into_iter().flatten().map(|(rank, _)| rank.owner())
    }

    /// Who has a port, with which listener.
    fn first(&self, port: &Port) -> Option<(Rank, String)> {
        let (rank, listener) = self.queues.get(port)?.first_key_value()?;
        Some((rank.clone(), listener.clone()))
    }
}

// === impl Rank ===

impl Rank {
    fn owner(&self) -> Owner {
        (self.proxy.clone(), self.plan.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(proxy: &str, plan: &str) -> Owner {
        (ProxyId::Node(proxy.into()), plan.into())
    }

    fn wish(number: u32, transport: Transport, listener: &str) -> Wish {
        Wish { port: Port { netns: "host".into(), transport, number }, listener: listener.into() }
    }

    #[test]
    fn the_older_object_wins_and_the_other_is_told_who() {
        let mut claims = Claims::default();
        claims.set(&owner("gw", "young"), 20, vec![wish(5000, Transport::Udp, "y")]);
        let shifted = claims.set(&owner("gw", "old"), 10, vec![wish(5000, Transport::Udp, "o")]);
        assert_eq!(shifted, BTreeSet::from([owner("gw", "young")]));
        let denied = claims.denied(&owner("gw", "young"));
        assert_eq!((&*denied["y"].winner, denied["y"].winner_listener.as_str()), ("old", "o"));
        assert!(claims.denied(&owner("gw", "old")).is_empty());
    }

    #[test]
    fn when_the_winner_goes_the_next_has_the_port() {
        let mut claims = Claims::default();
        claims.set(&owner("gw", "a"), 10, vec![wish(5000, Transport::Udp, "a")]);
        claims.set(&owner("other", "b"), 20, vec![wish(5000, Transport::Udp, "b")]);
        let shifted = claims.set(&owner("gw", "a"), 10, Vec::new());
        assert_eq!(shifted, BTreeSet::from([owner("other", "b")]));
        assert!(claims.denied(&owner("other", "b")).is_empty());
    }

    #[test]
    fn udp_and_tcp_share_a_number_and_namespaces_share_nothing() {
        let mut claims = Claims::default();
        claims.set(&owner("gw", "a"), 10, vec![wish(53, Transport::Udp, "u"), wish(53, Transport::Tcp, "t")]);
        let mut other = wish(53, Transport::Udp, "pod");
        other.port.netns = "uid".into();
        claims.set(&owner("gw", "b"), 20, vec![other]);
        assert!(claims.denied(&owner("gw", "a")).is_empty());
        assert!(claims.denied(&owner("gw", "b")).is_empty());
    }

    #[test]
    fn two_listeners_of_one_object_on_one_port_leave_the_first() {
        let mut claims = Claims::default();
        claims.set(&owner("gw", "a"), 10, vec![wish(53, Transport::Udp, "x"), wish(53, Transport::Udp, "y")]);
        assert_eq!(claims.denied(&owner("gw", "a")).into_keys().collect::<Vec<_>>(), ["y"]);
    }

    #[test]
    fn all_who_wait_hear_of_another_winner() {
        let mut claims = Claims::default();
        for (plan, created) in [("a", 10), ("b", 20), ("c", 30)] {
            claims.set(&owner("gw", plan), created, vec![wish(5000, Transport::Udp, plan)]);
        }
        assert_eq!(&*claims.denied(&owner("gw", "c"))["c"].winner, "a");
        let shifted = claims.set(&owner("gw", "a"), 10, Vec::new());
        assert_eq!(shifted, BTreeSet::from([owner("gw", "b"), owner("gw", "c")]));
        assert_eq!(&*claims.denied(&owner("gw", "c"))["c"].winner, "b");
    }

    #[test]
    fn loser_that_comes_or_goes_is_of_no_interest_to_the_winner() {
        let mut claims = Claims::default();
        claims.set(&owner("gw", "a"), 10, vec![wish(5000, Transport::Udp, "a")]);
        assert!(claims.set(&owner("gw", "b"), 20, vec![wish(5000, Transport::Udp, "b")]).is_empty());
        assert!(claims.set(&owner("gw", "b"), 20, Vec::new()).is_empty());
    }

    #[test]
    fn equal_age_is_decided_by_name() {
        let mut claims = Claims::default();
        claims.set(&owner("gw", "A/ns/b"), 10, vec![wish(5000, Transport::Udp, "l")]);
        claims.set(&owner("gw", "A/ns/a"), 10, vec![wish(5000, Transport::Udp, "l")]);
        assert!(claims.denied(&owner("gw", "A/ns/a")).is_empty());
        assert_eq!(claims.denied(&owner("gw", "A/ns/b")).len(), 1);
    }

    #[test]
    fn dropped_proxy_leaves_every_port_to_the_others() {
        let mut claims = Claims::default();
        for (plan, port) in [("a", 1), ("b", 2)] {
            claims.set(&owner("gone", plan), 10, vec![wish(port, Transport::Udp, plan)]);
            claims.set(&owner("stays", plan), 20, vec![wish(port, Transport::Udp, plan)]);
        }
        assert_eq!(
            claims.drop_proxy(&owner("gone", "").0),
            BTreeSet::from([owner("stays", "a"), owner("stays", "b")])
        );
        assert!(claims.denied(&owner("stays", "a")).is_empty());
        assert!(claims.drop_proxy(&owner("gone", "").0).is_empty());
    }
}
