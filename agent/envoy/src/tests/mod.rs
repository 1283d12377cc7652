//! Tests of the translation: builders of Plans and endpoints, and a [`Lookup`] over them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::Envoy;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use portreeve_agent_core::translate::{Defaults, Families, Lookup, Request, Streams, Translation};
use portreeve_api::model::{Endpoint, Plan, Secret};
use portreeve_api::plan;
use portreeve_api::plan::balancer::Policy;
use portreeve_api::plan::endpoint_source::From;
use prost::Message;

use super::*;

mod access;
mod affinity;
mod checks;
mod dump;
mod facts;
mod golden;
mod inputs;
mod mesh;
mod streams;
mod support;
mod templated;

/// Groups and host names of the tests.
#[derive(Default)]
struct Fixture {
    groups: BTreeMap<String, Vec<Endpoint>>,
    hosts: BTreeMap<String, Vec<IpAddr>>,
    secrets: BTreeMap<String, Secret>,
    /// Uids of pods, and addresses, that failed, each with the port of its check: "uid-1:1233".
    failed: BTreeSet<String>,
    /// Uids of stale pods.
    stale: BTreeSet<String>,
}

impl Lookup for Fixture {
    fn group(&self, name: &str) -> Option<Vec<&Endpoint>> {
        self.groups.get(name).map(|all| all.iter().collect())
    }

    fn host(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>> {
        assert_eq!(namespace, "ns");
        self.hosts.get(name).cloned()
    }

    fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)
    }

    fn pod_failed(&self, endpoint: &Endpoint, port: NonZeroU16, path: Option<&str>) -> bool {
        self.failed.contains(&format!("{}:{port}{}", endpoint.uid, path.unwrap_or_default()))
    }

    fn address_failed(&self, ip: IpAddr, port: NonZeroU16, path: Option<&str>) -> bool {
        self.failed.contains(&format!("{ip}:{port}{}", path.unwrap_or_default()))
    }

    fn stale(&self, endpoint: &Endpoint) -> bool {
        self.stale.contains(&*endpoint.uid)
    }
}

/// Pods 1 to `count`, created at 100, with addresses 10.0.0.x and fd00::x.
fn mk_pods(count: u8) -> Vec<Endpoint> {
    let pod = |i| Endpoint {
        uid: format!("uid-{i}").into(),
        namespace: String::new(),
        name: format!("w-{i}"),
        node: "".into(),
        ips: mk_ips(&[&format!("10.0.0.{i}"), &format!("fd00::{i:x}")]),
        created_ms: Some(100),
        terminating_ms: None,
        ready: true,
        source: "".into(),
    };
    (1..=count).map(pod).collect()
}

fn mk_ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn mk_fixture(pods: Vec<Endpoint>) -> Fixture {
    Fixture { groups: BTreeMap::from([("ns/app=w".into(), pods)]), ..Default::default() }
}

/// A Plan without listeners, of an object created at 200.
fn mk_plan() -> plan::Plan {
    let origin = plan::Origin {
        api: "A".into(),
        namespace: "ns".into(),
        name: "call".into(),
        created_ms: 200,
        ..Default::default()
    };
    let workload = plan::Workload { selector: Some(plan::Selector::default()), ..Default::default() };
    plan::Plan {
        origin: Some(origin),
        workload: Some(workload),
        dns_namespace: "ns".into(),
        ..Default::default()
    }
}

fn key(key: &str) -> Policy {
    Policy::Key(key.into())
}

fn group() -> From {
    From::Group("ns/app=w".into())
}

/// Adds listener `<name>-l` on a port and cluster `<name>-c` with these sources.
fn add_pipe(
    plan: &mut plan::Plan,
    name: &str,
    socket: (plan::Protocol, u32),
    policy: Policy,
    sources: Vec<(From, u32)>,
) {
    let (protocol, port) = socket;
    let socket = |port| Some(plan::Socket { protocol: protocol.into(), port, ..Default::default() });
    let route = plan::Route { destination: format!("{name}-c"), ..Default::default() };
    plan.listeners.push(plan::Listener {
        name: format!("{name}-l"),
        socket: socket(port),
        rules: vec![plan::Rule { route: Some(route), ..Default::default() }],
        ..Default::default()
    });
    let source = |(from, port)| plan::EndpointSource { from: Some(from), port, ..Default::default() };
    plan.clusters.push(plan::Cluster {
        name: format!("{name}-c"),
        socket: socket(0),
        endpoints: sources.into_iter().map(source).collect(),
        balancer: Some(plan::Balancer { policy: Some(policy) }),
        connect_timeout_ms: 5_000,
        ..Default::default()
    });
}

/// A Plan with one UDP listener on port 2000 to these sources.
fn mk_udp(policy: Policy, sources: Vec<(From, u32)>) -> plan::Plan {
    let mut plan = mk_plan();
    add_pipe(&mut plan, "rtp", (plan::Protocol::Udp, 2000), policy, sources);
    plan
}

/// Returns the Plan in the agent's own type.
fn read(plan: &plan::Plan) -> Plan {
    Plan::try_from(plan.clone()).unwrap()
}

fn run(plan: &plan::Plan, families: Families, lookup: &Fixture) -> Translation<Envoy> {
    let done = try_run(plan, families, lookup).expect("everything is known");
    inputs::assert_complete(plan, families, (lookup, &done));
    done
}

fn try_run(plan: &plan::Plan, families: Families, lookup: &Fixture) -> Option<Translation<Envoy>> {
    with_request(plan, families, |request| translate(request, lookup))
}

/// Calls `with` with the request to translate a Plan.
fn with_request<R>(plan: &plan::Plan, families: Families, with: impl FnOnce(&Request<'_>) -> R) -> R {
    with(&Request {
        plan: &read(plan),
        families,
        streams: &Streams::Aggregated,
        denied: &BTreeSet::new(),
        running: &BTreeSet::new(),
        defaults: Defaults::default(),
        called: &BTreeMap::new(),
    })
}

/// Returns a cluster's endpoints as "priority address:port", in the order sent, with "~" before DEGRADED and
/// "!" before UNHEALTHY endpoints.
fn shown(done: &Translation<Envoy>, cluster: &str) -> Vec<String> {
    let name = format!("A/ns/call/{cluster}");
    let mut found = done.outputs.iter().filter(|(ty, r)| *ty == Envoy::Endpoint && **r.name() == *name);
    let (_, resource) = found.next().expect("the cluster has an assignment");
    let assignment = endpoint::ClusterLoadAssignment::decode(resource.body()).unwrap();
    assert_eq!(assignment.cluster_name, name);
    let localities = assignment.endpoints.iter();
    localities.flat_map(|l| l.lb_endpoints.iter().map(move |e| show_one(l.priority, e))).collect()
}

fn show_one(priority: u32, built: &endpoint::LbEndpoint) -> String {
    let Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(host)) = &built.host_identifier else {
        panic!("an endpoint is given in full");
    };
    let Some(core::address::Address::SocketAddress(socket)) = host.address.as_ref().unwrap().address.as_ref()
    else {
        panic!("an endpoint is a socket");
    };
    let Some(core::socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
        panic!("a port is a number");
    };
    let mark = match built.health_status() {
        core::HealthStatus::Degraded => "~",
        core::HealthStatus::Unhealthy => "!",
        _ => "",
    };
    format!("{priority} {mark}{}:{port}", socket.address)
}

/// Returns the address in a line of [`shown`].
fn address(shown: &str) -> &str {
    shown.split_once(' ').and_then(|(_, rest)| rest.rsplit_once(':')).unwrap().0
}
