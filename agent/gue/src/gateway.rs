//! EPIC's end of the tunnels: [`Gateway`] knows the load balancers, learns from pings where their tunnels lead, and decides on
//! each packet.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use portreeve_api::c::tunnel_key::TunnelKey;

use crate::dropped::Dropped;
use crate::ipv4::{Packet, Transport};
use crate::wire::{Data, HEADER, Ids, Message, Ping, read, unknown_key};

/// The longest inner packet: with the headers it fits into 1,500 bytes (seed C.4).
pub const LONGEST: usize = 1448;

/// An endpoint of a load balancer.
pub type Endpoint = (Transport, SocketAddrV4);

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Its numbers.
    pub ids: Ids,
    /// The key of its tunnels. No two load balancers have the same.
    pub key: TunnelKey,
    /// Its public address, from which its proxies connect to endpoints.
    pub address: Ipv4Addr,
    /// Its tunnels, each with EPIC's end, as customers' nodes know it.
    pub tunnels: BTreeMap<u32, SocketAddrV4>,
    /// Its endpoints, each with one of these tunnels.
    pub endpoints: BTreeMap<Endpoint, u32>,
}

/// What is known of a tunnel's other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where the last good ping was from.
    pub at: SocketAddrV4,
    /// The ids of that ping, which packets to this end have.
    pub ids: Ids,
    /// When the first ping like it came, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// What a gateway knows of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The other end.
    pub peer: Peer,
    /// When the last good ping came to this gateway, in milliseconds since the Unix epoch. `None`: another one learned the end.
    pub heard_ms: Option<i64>,
}

/// What a datagram is.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A packet for the load balancer's proxy.
    Inner {
        /// The packet.
        packet: &'a [u8],
        /// Whether it isn't from where the tunnel's last ping was from.
        foreign: bool,
    },
    /// A ping.
    Ping {
        /// The tunnel.
        tunnel: u32,
        /// Whether the tunnel's other end or its ids are others than before.
        moved: bool,
    },
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// This end of the tunnel, as the other one knows it. `None`: whichever address leads there.
    pub from: Option<Ipv4Addr>,
    /// The other end.
    pub to: SocketAddrV4,
}

/// What is put before a packet, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Where it goes.
    pub way: Way,
    /// The bytes before the packet.
    pub header: [u8; HEADER],
}

/// Why a load balancer can't be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Packets are told apart by their key.
    #[error("its tunnel key is also that of load balancer {0}: delete spec.tunnel-key to get another one")]
    Key(Arc<str>),
    /// Packets of proxies are told apart by their address.
    #[error(
        "its public address is also that of load balancer {0}: delete spec.public-address to get another one"
    )]
    Address(Arc<str>),
}

/// EPIC's end of the tunnels.
#[derive(Debug, Default)]
pub struct Gateway {
    load_balancers: HashMap<Arc<str>, LoadBalancer>,
    /// The names by key, by public address and by tunnel.
    by_key: HashMap<TunnelKey, Arc<str>>,
    by_address: HashMap<Ipv4Addr, Arc<str>>,
    by_tunnel: HashMap<u32, Arc<str>>,
    peers: HashMap<u32, Known>,
    /// The end of a tunnel changed since the last [`Gateway::take_news`].
    news: bool,
    /// Drops packets from elsewhere than where the last ping was from. Behind some NATs, data comes from other ports.
    strict: bool,
}

// === impl Gateway ===

impl Gateway {
    /// Creates an end without load balancers.
    pub fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// Adds or replaces a load balancer. What is known of its tunnels' other ends stays, unless the key is another one.
    ///
    /// # Errors
    /// Returns an error if another load balancer has the key or the address. Then nothing changes.
    pub fn put(&mut self, name: &Arc<str>, load_balancer: LoadBalancer) -> Result<(), Conflict> {
        let other = |found: Option<&Arc<str>>| found.filter(|found| *found != name).cloned();
        if let Some(other) = other(self.by_key.get(&load_balancer.key)) {
            return Err(Conflict::Key(other));
        }
        if let Some(other) = other(self.by_address.get(&load_balancer.address)) {
            return Err(Conflict::Address(other));
        }
        let before = self.take(name);
        self.by_key.insert(load_balancer.key, name.clone());
        self.by_address.insert(load_balancer.address, name.clone());
        self.by_tunnel.extend(load_balancer.tunnels.keys().map(|tunnel| (*tunnel, name.clone())));
        if let Some(before) = before {
            let now = Some(&load_balancer).filter(|now| now.key == before.key);
            self.forget_peers(&before, now);
        }
        self.load_balancers.insert(name.clone(), load_balancer);
        Ok(())
    }

    /// Removes a load balancer with what is known of its tunnels.
    pub fn remove(&mut self, name: &str) {
        if let Some(before) = self.take(name) {
            self.forget_peers(&before, None);
        }
    }

    /// Returns a load balancer.
    pub fn get(&self, name: &str) -> Option<&LoadBalancer> {
        self.load_balancers.get(name)
    }

    fn take(&mut self, name: &str) -> Option<LoadBalancer> {
        let taken = self.load_balancers.remove(name)?;
        self.by_key.remove(&taken.key);
        self.by_address.remove(&taken.address);
        for tunnel in taken.tunnels.keys() {
            self.by_tunnel.remove(tunnel);
        }
        Some(taken)
    }

    fn of_key(&self, key: &TunnelKey) -> Option<&LoadBalancer> {
        self.by_key.get(key).and_then(|name| self.load_balancers.get(name))
    }

    /// Forgets the other ends of tunnels that a load balancer had and has no more.
    fn forget_peers(&mut self, before: &LoadBalancer, now: Option<&LoadBalancer>) {
        let is_kept = |tunnel: &u32| now.is_some_and(|now| now.tunnels.contains_key(tunnel));
        for tunnel in before.tunnels.keys().filter(|one| !is_kept(one)) {
            self.peers.remove(tunnel);
        }
    }

    /// Returns the other ends that are known, by tunnel.
    pub fn peers(&self) -> &HashMap<u32, Known> {
        &self.peers
    }

    /// Returns the number of tunnels.
    pub fn tunnels(&self) -> usize {
        self.by_tunnel.len()
    }

    /// Returns the name of the load balancer that has a tunnel.
    pub fn of_tunnel(&self, tunnel: u32) -> Option<&str> {
        self.by_tunnel.get(&tunnel).map(AsRef::as_ref)
    }

    /// Returns whether the other end of a tunnel has become known or another one since the last call.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Takes over what another gateway has learned, unless a later ping came here.
    pub fn learn(&mut self, tunnel: u32, peer: Peer) {
        let last = |known: &Known| known.heard_ms.unwrap_or(known.peer.since_ms);
        let is_news = self.peers.get(&tunnel).is_none_or(|known| last(known) < peer.since_ms);
        if is_news && self.by_tunnel.contains_key(&tunnel) {
            self.peers.insert(tunnel, Known { peer, heard_ms: None });
            self.news = true;
        }
    }

    /// Decides on a datagram that came at this time (in milliseconds since the Unix epoch) from another end.
    ///
    /// # Errors
    /// Returns why it is dropped.
    pub fn receive<'a>(
        &mut self,
        from: SocketAddrV4,
        payload: &'a [u8],
        now_ms: i64,
    ) -> Result<Received<'a>, Dropped> {
        match read(payload)? {
            Message::Ping(ping) => self.ping(from, ping, now_ms),
            Message::Data(data, _) if !self.by_key.contains_key(&data.key) => Err(unknown_key(payload)),
            Message::Data(data, inner) => self.data(from, data, inner),
        }
    }

    fn ping(&mut self, at: SocketAddrV4, ping: Ping, now_ms: i64) -> Result<Received<'static>, Dropped> {
        let of = self.of_key(&ping.key).ok_or(Dropped::Key)?;
        if !of.tunnels.contains_key(&ping.tunnel) {
            return Err(Dropped::Tunnel);
        }
        if !of.is_named(ping.ids, ping.tunnel) {
            return Err(Dropped::Ids);
        }
        let same = |known: &&Known| (known.peer.at, known.peer.ids) == (at, ping.ids);
        let same = self.peers.get(&ping.tunnel).filter(same).map(|known| known.peer);
        let peer = same.unwrap_or(Peer { at, ids: ping.ids, since_ms: now_ms });
        self.peers.insert(ping.tunnel, Known { peer, heard_ms: Some(now_ms) });
        self.news |= same.is_none();
        Ok(Received::Ping { tunnel: ping.tunnel, moved: same.is_none() })
    }

    fn data<'a>(&self, from: SocketAddrV4, data: Data, inner: &'a [u8]) -> Result<Received<'a>, Dropped> {
        let of = self.of_key(&data.key).ok_or(Dropped::Key)?;
        let packet = Packet::read(inner)?;
        let tunnel = of.endpoints.get(&(packet.transport, packet.source)).ok_or(Dropped::Source)?;
        if !of.is_named(data.ids, *tunnel) {
            return Err(Dropped::Ids);
        }
        if *packet.destination.ip() != of.address {
            return Err(Dropped::Destination);
        }
        let foreign = self.peers.get(tunnel).is_none_or(|known| known.peer.at != from);
        match foreign && self.strict {
            true => Err(Dropped::Peer),
            false => Ok(Received::Inner { packet: &inner[..packet.length], foreign }),
        }
    }

    /// Decides on a packet of a load balancer's proxy to an endpoint. It is from the public address, by which the load balancer
    /// is found: accounts may share the addresses of endpoints.
    ///
    /// # Errors
    /// Returns why it is dropped.
    pub fn send(&self, packet: &[u8]) -> Result<Outer, Dropped> {
        let read = Packet::read(packet)?;
        let of = self.by_address.get(read.source.ip()).and_then(|name| self.load_balancers.get(name));
        let of = of.ok_or(Dropped::Source)?;
        let tunnel = of.endpoints.get(&(read.transport, read.destination)).ok_or(Dropped::Destination)?;
        let peer = self.peers.get(tunnel).ok_or(Dropped::NoPeer)?.peer;
        if read.length > LONGEST {
            return Err(Dropped::TooBig);
        }
        let way = Way { from: of.tunnels.get(tunnel).map(|epic| *epic.ip()), to: peer.at };
        Ok(Outer { way, header: Data { ids: peer.ids, key: of.key }.header() })
    }
}

// === impl LoadBalancer ===

impl LoadBalancer {
    /// Returns whether ids are the load balancer's or those that a client of August 2021 has for the tunnel.
    fn is_named(&self, ids: Ids, tunnel: u32) -> bool {
        ids == self.ids || Ids::of_tunnel(tunnel).contains(&ids)
    }
}
