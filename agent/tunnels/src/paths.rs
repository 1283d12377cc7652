//! Which packets go through the device: [`Paths`].
//!
//! Packets are led by where they are from, so no program needs a right for marks, and the kernel's check of return paths passes.
//! At EPIC's end that is the public address, from which a load balancer's proxies connect. What they answer to clients is from the
//! same address and a public port, and goes its usual way. At the customer's end it is the endpoint with its port.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use portreeve_gue::client::Tunnel;
use portreeve_gue::gateway::LoadBalancer;
use portreeve_gue::ipv4::Transport;
use portreeve_gue::wire::Ids;

/// The number of the main routing table.
pub const MAIN: u32 = 254;

/// A rule: which table is asked for packets from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The source address.
    pub from: Ipv4Addr,
    /// The source port. `None`: all, if no other rule has theirs.
    pub port: Option<(Transport, u16)>,
    /// The table.
    pub table: u32,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The destination.
    pub to: Ipv4Addr,
    /// The table.
    pub table: u32,
    /// Where it leads.
    pub into: Leads,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leads {
    /// Into the device.
    Device,
    /// Nowhere. It counts while there is no device, so that no packet leaves by other routes: the destination's address may also be
    /// that of another account's pod.
    Nowhere,
}

/// The rules and routes of tunnels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// The rules.
    pub rules: BTreeSet<Rule>,
    /// The routes.
    pub routes: BTreeSet<Route>,
}

// === impl Paths ===

impl Paths {
    /// Adds what leads from a load balancer's proxies to its endpoints.
    pub fn add_load_balancer(&mut self, of: &LoadBalancer, ports: &[(Transport, u16)]) {
        let (from, table) = (of.address, table(of.ids));
        self.rules.insert(Rule { from, port: None, table });
        self.rules.extend(ports.iter().map(|port| Rule { from, port: Some(*port), table: MAIN }));
        let to = of.endpoints.keys().map(|(_, endpoint)| *endpoint.ip());
        to.for_each(|to| self.lead(to, table));
    }

    /// Adds what leads from a tunnel's endpoints to the load balancer's public address.
    pub fn add_tunnel(&mut self, of: &Tunnel, public: Ipv4Addr) {
        let table = table(of.ids);
        let rule = |(transport, at): &(Transport, std::net::SocketAddrV4)| Rule {
            from: *at.ip(),
            port: Some((*transport, at.port())),
            table,
        };
        self.rules.extend(of.endpoints.iter().map(rule));
        self.lead(public, table);
    }

    fn lead(&mut self, to: Ipv4Addr, table: u32) {
        self.routes.extend([Leads::Device, Leads::Nowhere].map(|into| Route { to, table, into }));
    }
}

/// Returns the number of a load balancer's routing table. It is above 65,535, because no account has the number 0, so it is
/// nobody else's by accident.
fn table(ids: Ids) -> u32 {
    u32::from(ids.group) << 16 | u32::from(ids.service)
}
