//! The rules and routes in the kernel: [`Kernel`] makes them those that are wanted, and touches no others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use portreeve_gue::ipv4::Transport;
use rtnetlink::packet_route::IpProtocol;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder, new_connection};
use tokio::task::JoinSet;

use crate::paths::{Leads, MAIN, Paths, Route, Rule};

/// The mark of our rules and routes: the number of a program that sets them (`ip rule` and `ip route` show it as `proto`).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(83);

/// The priority of rules that lead into tunnels, and the metric of routes that lead nowhere. Rules before them keep packets out.
const PRIORITY: u32 = 6080;

/// A connection to the kernel, for the network namespace of the thread that opened it. Needs the capability `NET_ADMIN`.
#[derive(Debug)]
pub struct Kernel {
    handle: Handle,
    /// The connection's task. It ends with this set.
    _connection: JoinSet<()>,
}

// === impl Kernel ===

impl Kernel {
    /// Opens a connection. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the process has no room for another file.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = new_connection().context("opening a netlink socket")?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        Ok(Self { handle, _connection: task })
    }

    /// Makes the rules and routes into a device those that are wanted, whatever earlier processes left. Routes come before the
    /// rules that need them, and go after them.
    ///
    /// # Errors
    /// Returns an error if there is no such device, or if the kernel rejects a request.
    pub async fn set(&self, device: &str, wanted: &Paths) -> Result<()> {
        let links = self.handle.link().get().match_name(device.to_owned()).execute();
        let link = links.try_collect::<Vec<_>>().await.with_context(|| format!("looking up {device}"))?;
        let index = link.first().with_context(|| format!("no interface {device}"))?.header.index;
        let (rules, routes) = (self.rules().await?, self.routes().await?);
        for route in wanted.routes.iter().filter(|one| !routes.contains_key(one)) {
            let message = message(route, index);
            self.handle.route().add(message).execute().await.with_context(|| format!("adding {route:?}"))?;
        }
        for rule in wanted.rules.iter().filter(|one| !rules.contains_key(one)) {
            self.add(rule).await.with_context(|| format!("adding {rule:?}"))?;
        }
        for (rule, message) in rules.into_iter().filter(|(one, _)| !wanted.rules.contains(one)) {
            let deleted = self.handle.rule().del(message).execute().await;
            deleted.with_context(|| format!("deleting {rule:?}"))?;
        }
        for (route, message) in routes.into_iter().filter(|(one, _)| !wanted.routes.contains(one)) {
            let deleted = self.handle.route().del(message).execute().await;
            deleted.with_context(|| format!("deleting {route:?}"))?;
        }
        Ok(())
    }

    async fn add(&self, rule: &Rule) -> Result<(), rtnetlink::Error> {
        let priority = if rule.table == MAIN { PRIORITY - 1 } else { PRIORITY };
        let mut request = self.handle.rule().add().v4().source_prefix(rule.from, 32).table_id(rule.table);
        request = request.priority(priority).action(RuleAction::ToTable);
        let attributes = &mut request.message_mut().attributes;
        attributes.push(RuleAttribute::Protocol(PROTOCOL));
        if let Some((transport, port)) = rule.port {
            let protocol = match transport {
                Transport::Tcp => IpProtocol::Tcp,
                Transport::Udp => IpProtocol::Udp,
            };
            attributes.push(RuleAttribute::IpProtocol(protocol));
            attributes.push(RuleAttribute::SourcePortRange(RulePortRange { start: port, end: port }));
        }
        request.execute().await
    }

    /// Returns our rules, with their messages.
    async fn rules(&self) -> Result<BTreeMap<Rule, RuleMessage>> {
        let all = self.handle.rule().get(IpVersion::V4).execute();
        let all: Vec<RuleMessage> = all.try_collect().await.context("listing rules")?;
        let ours = all.into_iter().filter(|one| one.attributes.contains(&RuleAttribute::Protocol(PROTOCOL)));
        Ok(ours.filter_map(|one| Some((rule(&one)?, one))).collect())
    }

    /// Returns our routes, with their messages.
    async fn routes(&self) -> Result<BTreeMap<Route, RouteMessage>> {
        let all = self.handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let all: Vec<RouteMessage> = all.try_collect().await.context("listing routes")?;
        let ours = all.into_iter().filter(|one| one.header.protocol == PROTOCOL);
        Ok(ours.filter_map(|one| Some((route(&one)?, one))).collect())
    }
}

/// Reads a rule. `None`: it has no source address, so none of ours is like it.
fn rule(message: &RuleMessage) -> Option<Rule> {
    let (mut from, mut table, mut transport, mut port) = (None, message.header.table.into(), None, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(IpAddr::V4(address)) => from = Some(*address),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::IpProtocol(IpProtocol::Tcp) => transport = Some(Transport::Tcp),
            RuleAttribute::IpProtocol(IpProtocol::Udp) => transport = Some(Transport::Udp),
            RuleAttribute::SourcePortRange(range) => port = Some(range.start),
            _ => {}
        }
    }
    Some(Rule { from: from?, port: transport.zip(port), table })
}

/// Reads a route. `None`: it has no destination.
fn route(message: &RouteMessage) -> Option<Route> {
    let (mut to, mut table) = (None, message.header.table.into());
    let into = if message.header.kind == RouteType::Unreachable { Leads::Nowhere } else { Leads::Device };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = Some(*address),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    Some(Route { to: to?, table, into })
}

fn message(route: &Route, device: u32) -> RouteMessage {
    let message = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(route.to, 32);
    let message = message.table_id(route.table).protocol(PROTOCOL);
    match route.into {
        Leads::Device => message.output_interface(device).build(),
        Leads::Nowhere => message.kind(RouteType::Unreachable).priority(PRIORITY).build(),
    }
}
