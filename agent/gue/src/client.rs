//! The customer's end of the tunnels, on one node: [`Client`] pings EPIC, remembers which packets came through which tunnel, and
//! sends the replies back the same way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddrV4;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use portreeve_api::c::tunnel_key::TunnelKey;

use crate::dropped::Dropped;
use crate::gateway::{Endpoint, LONGEST, Outer, Way};
use crate::ipv4::{Flow, Packet};
use crate::wire::{Data, Ids, Message, PING, Ping, read, unknown_key};

/// The most sessions at a time. The one that was used longest ago makes room.
pub const SESSIONS: NonZeroUsize = NonZeroUsize::new(65_535).unwrap();

/// How long a session without packets stays.
pub const IDLE: Duration = Duration::from_secs(3600);

/// The time between two pings of a tunnel.
pub const PERIOD: Duration = Duration::from_secs(25);

/// The time between the first two pings. It doubles until it is [`PERIOD`]: nobody answers pings, and without one that arrived,
/// EPIC sends nothing.
pub const FIRST: Duration = Duration::from_millis(500);

/// A tunnel from this node to EPIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The load balancer's numbers.
    pub ids: Ids,
    /// The load balancer's key.
    pub key: TunnelKey,
    /// EPIC's end.
    pub epic: SocketAddrV4,
    /// The endpoints of the load balancer on this node.
    pub endpoints: BTreeSet<Endpoint>,
}

/// The customer's end of the tunnels.
#[derive(Debug)]
pub struct Client {
    tunnels: BTreeMap<u32, Tunnel>,
    /// The time between each tunnel's last ping and the next one.
    pauses: HashMap<u32, Duration>,
    /// The tunnels of each load balancer: one to each of EPIC's nodes.
    by_key: HashMap<TunnelKey, BTreeSet<u32>>,
    /// By the flows from the ends behind EPIC to endpoints.
    sessions: LruCache<Flow, Session>,
    /// When each tunnel's next ping is due.
    pings: BTreeSet<(Instant, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    tunnel: u32,
    used: Instant,
}

// === impl Client ===

impl Client {
    /// Creates an end without tunnels.
    pub fn new() -> Self {
        Self {
            tunnels: BTreeMap::new(),
            pauses: HashMap::new(),
            by_key: HashMap::new(),
            sessions: LruCache::new(SESSIONS),
            pings: BTreeSet::new(),
        }
    }

    /// Adds or replaces a tunnel. A new one, or one that leads elsewhere, is pinged at once.
    pub fn put(&mut self, id: u32, tunnel: Tunnel, now: Instant) {
        let before = self.tunnels.insert(id, tunnel.clone());
        if let Some(before) = before.as_ref().filter(|before| before.key != tunnel.key) {
            self.forget_key(&before.key, id);
        }
        self.by_key.entry(tunnel.key).or_default().insert(id);
        let same =
            |before: Tunnel| (before.ids, before.key, before.epic) == (tunnel.ids, tunnel.key, tunnel.epic);
        if !before.is_some_and(same) {
            self.pings.retain(|(_, of)| *of != id);
            self.pings.insert((now, id));
            self.pauses.insert(id, FIRST);
        }
    }

    /// Removes a tunnel.
    pub fn remove(&mut self, id: u32) {
        let Some(tunnel) = self.tunnels.remove(&id) else { return };
        self.forget_key(&tunnel.key, id);
        self.pings.retain(|(_, of)| *of != id);
        self.pauses.remove(&id);
    }

    fn forget_key(&mut self, key: &TunnelKey, id: u32) {
        let Some(ids) = self.by_key.get_mut(key) else { return };
        ids.remove(&id);
        if ids.is_empty() {
            self.by_key.remove(key);
        }
    }

    /// Takes the pings that are due, each with where it goes.
    pub fn pings(&mut self, now: Instant) -> Vec<(SocketAddrV4, [u8; PING])> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.pings.first().copied().filter(|(at, _)| *at <= now) {
            self.pings.remove(&(at, id));
            let pause = self.pauses.entry(id).or_insert(FIRST);
            self.pings.insert((now + *pause, id));
            *pause = (*pause * 2).min(PERIOD);
            let ping = |tunnel: &Tunnel| {
                (tunnel.epic, Ping { ids: tunnel.ids, key: tunnel.key, tunnel: id }.write())
            };
            due.extend(self.tunnels.get(&id).map(ping));
        }
        due
    }

    /// Returns when the next ping is due.
    pub fn next_ping(&self) -> Option<Instant> {
        self.pings.first().map(|(at, _)| *at)
    }

    /// Decides on a datagram of EPIC's. Returns the packet for an endpoint of this node, and remembers where its replies go: into
    /// the load balancer's tunnel to the node that it is from, or else into its first one.
    ///
    /// # Errors
    /// Returns why it is dropped. EPIC sends no pings.
    pub fn receive<'a>(
        &mut self,
        from: SocketAddrV4,
        payload: &'a [u8],
        now: Instant,
    ) -> Result<&'a [u8], Dropped> {
        let (data, inner) = match read(payload)? {
            Message::Data(data, inner) => (data, inner),
            Message::Ping(_) => return Err(Dropped::ControlType),
        };
        let of_key = self.by_key.get(&data.key).ok_or_else(|| unknown_key(payload))?;
        let tunnels = of_key.iter().filter_map(|id| Some((*id, self.tunnels.get(id)?)));
        let named =
            tunnels.filter(|(id, tunnel)| data.ids == tunnel.ids || Ids::of_tunnel(*id).contains(&data.ids));
        let (id, tunnel) = named.min_by_key(|(_, tunnel)| tunnel.epic != from).ok_or(Dropped::Ids)?;
        let packet = Packet::read(inner)?;
        if !tunnel.endpoints.contains(&(packet.transport, packet.destination)) {
            return Err(Dropped::Destination);
        }
        self.sessions.put(packet.flow(), Session { tunnel: id, used: now });
        Ok(&inner[..packet.length])
    }

    /// Decides on a packet of an endpoint. `Ok(None)`: it is no reply to what came through a tunnel, and goes its usual way.
    ///
    /// # Errors
    /// Returns why it is dropped.
    pub fn send(&mut self, packet: &[u8], now: Instant) -> Result<Option<Outer>, Dropped> {
        let read = Packet::read(packet)?;
        let flow = (read.transport, read.destination, read.source);
        let Some(session) = self.sessions.get_mut(&flow) else { return Ok(None) };
        let tunnel = self.tunnels.get(&session.tunnel);
        let Some(tunnel) = tunnel.filter(|_| now.saturating_duration_since(session.used) < IDLE) else {
            self.sessions.pop(&flow);
            return Ok(None);
        };
        session.used = now;
        if read.length > LONGEST {
            return Err(Dropped::TooBig);
        }
        let header = Data { ids: tunnel.ids, key: tunnel.key }.header();
        Ok(Some(Outer { way: Way { from: None, to: tunnel.epic }, header }))
    }

    /// Returns the number of tunnels.
    pub fn tunnels(&self) -> usize {
        self.tunnels.len()
    }

    /// Returns the number of sessions, idle ones included.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}
