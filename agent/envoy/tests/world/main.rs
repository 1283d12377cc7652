//! Tests of the world: builders, and [`Rig`], which acts as the hub and reads what proxies are sent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use portreeve_agent_core::claims::Owner;
use portreeve_agent_core::claims::strangers::{Stranger, Strangers};
use portreeve_agent_core::fleet::{Accepted, Announced, Contribution, Facts, Kept, Proxy};
use portreeve_agent_core::translate::{Defaults, Families, ProxyKind, Streams};
use portreeve_agent_core::world::{Effects, Host, ProxyId, Sent, World};
use portreeve_api::model::Plan;
use portreeve_api::plan::endpoint_source::From;
use portreeve_api::pod::Pod;
use portreeve_api::refs::PlanName;
use portreeve_api::{PlanType, names, plan};
use portreeve_envoy::{Envoy, registry};
use portreeve_xds::{Kind, Name, Request, Resource, ResourceType, Variant, Version, View, Watch};
use prost::Message;

mod backings;
mod feed;
mod fleets;
mod former;
mod health;
mod hosts;
mod interfaces;
mod joining;
mod named;
mod peers;
mod ports;
mod proxies;
mod refused;
mod restore;
mod secrets;
mod strangers;
mod streams;
mod tunnels;
mod unread;
mod unreadable;

const W: &str = "ns/app=w";

/// A Plan `A/ns/<name>` of an object created at `created_ms`, for proxies with `app=gw`. It has one UDP
/// listener `l` on `port` and one cluster `c` with this source.
fn mk_plan(name: &str, created_ms: i64, port: u32, from: From) -> plan::Plan {
    let socket = |port| plan::Socket { protocol: plan::Protocol::Udp.into(), port, ..Default::default() };
    let route = plan::Route { destination: "c".into(), ..Default::default() };
    let listener = plan::Listener {
        name: "l".into(),
        socket: Some(socket(port)),
        rules: vec![plan::Rule { route: Some(route), ..Default::default() }],
        ..Default::default()
    };
    let cluster = plan::Cluster {
        name: "c".into(),
        socket: Some(socket(0)),
        endpoints: vec![plan::EndpointSource { from: Some(from), port: 9, ..Default::default() }],
        balancer: Some(plan::Balancer { policy: Some(plan::balancer::Policy::SourceAddress(true)) }),
        ..Default::default()
    };
    let origin = plan::Origin {
        api: "A".into(),
        namespace: "ns".into(),
        name: name.into(),
        created_ms,
        kind: "VirtualService".into(),
        ..Default::default()
    };
    plan::Plan {
        origin: Some(origin),
        workload: Some(mk_workload("app", "gw")),
        listeners: vec![listener],
        clusters: vec![cluster],
        dns_namespace: "ns".into(),
        ..Default::default()
    }
}

fn name_of(plan: &plan::Plan) -> Name {
    PlanName::from(plan.origin.as_ref().unwrap()).as_name().clone()
}

fn mk_workload(label: &str, value: &str) -> plan::Workload {
    let labels = BTreeMap::from([(label.to_owned(), value.to_owned())]);
    let selector = Some((&portreeve_api::selector::from_map(&labels)).into());
    plan::Workload { namespace: "ns".into(), selector, ..Default::default() }
}

fn ip(text: &str) -> From {
    From::Ip(text.into())
}

fn group() -> From {
    From::Group(W.into())
}

fn mk_labels(app: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), app.to_owned())])
}

/// A pod of namespace `ns` on this node.
fn mk_pod(uid: &str, app: &str) -> Pod {
    Pod {
        uid: uid.into(),
        namespace: "ns".into(),
        name: uid.into(),
        labels: mk_labels(app),
        node: Some("n".into()),
        ips: vec![IpAddr::from([10, 0, 0, 1])],
        ready: true,
        host_network: false,
        created_ms: 10,
        terminating_ms: 0,
        finished: false,
        node_proxy: None,
        service_account: String::new(),
        static_uid: None,
        l7mp: None,
        extra: BTreeMap::new(),
    }
}

fn mk_node_proxy(app: &str) -> plan::NodeProxy {
    plan::NodeProxy { labels: mk_labels(app), all_namespaces: true, ..Default::default() }
}

fn mk_slice(pods: &[u8]) -> plan::EndpointSlice {
    let endpoint = |i: &u8| plan::Endpoint {
        uid: format!("uid-{i}"),
        ips: vec![format!("10.0.1.{i}")],
        ready: true,
        ..Default::default()
    };
    plan::EndpointSlice { endpoints: pods.iter().map(endpoint).collect(), ..Default::default() }
}

fn gateway() -> ProxyId {
    ProxyId::Node("gw".into())
}

fn pod_id(uid: &str) -> ProxyId {
    ProxyId::Pod(uid.into())
}

/// Returns the owner of a test's Plan on an Envoy.
fn owner(proxy: ProxyId, plan: &str) -> Owner {
    Owner { kind: ProxyKind::Envoy, proxy, plan: plan.into() }
}

/// Returns the type of a stored resource.
fn ty(kept: &Kept) -> Envoy {
    Accepted::of_kept(kept).unwrap().ty
}

/// A node's Envoys.
trait Envoys {
    /// Returns them.
    fn envoys(&self) -> &BTreeMap<ProxyId, Proxy<Envoy>>;

    /// Returns the view of one, which is created for a pod's Envoy; `None` if there is no such proxy.
    fn open_envoy(&mut self, id: &ProxyId) -> Option<Arc<View<Envoy>>>;
}

// === impl World ===

impl Envoys for World {
    fn envoys(&self) -> &BTreeMap<ProxyId, Proxy<Envoy>> {
        self.fleet().unwrap().proxies()
    }

    fn open_envoy(&mut self, id: &ProxyId) -> Option<Arc<View<Envoy>>> {
        let known = self.envoys().get(id);
        let announced = known.map(|proxy| proxy.facts.announced.clone()).unwrap_or_default();
        self.open(id, &announced)
    }
}

/// A world whose hub is the test.
struct Rig {
    world: World,
}

// === impl Rig ===

impl Rig {
    /// Returns a rig with one NodeProxy `gw`, labelled `app=gw`.
    fn new() -> Self {
        let mut rig = Self { world: World::new(registry::fleets(), Families::V4) };
        rig.put(PlanType::NodeProxy, "gw", &mk_node_proxy("gw"));
        rig
    }

    /// Lets the gateway accept everything of these types that it is sent.
    fn accept_types(&mut self, types: &[Envoy]) {
        let view = self.world.open_envoy(&gateway()).unwrap();
        for ty in types {
            let all: Vec<_> =
                view.snapshot(|s| s.iter(*ty).map(|(name, r)| (name.clone(), r.version())).collect());
            self.world.accepted(&gateway(), *ty, &all.into());
        }
    }

    fn put(&mut self, ty: PlanType, name: &str, body: &impl Message) -> Effects {
        self.respond(ty, &[(name, body.encode_to_vec())], &[]).unwrap()
    }

    fn put_plan(&mut self, plan: &plan::Plan) -> Effects {
        self.put(PlanType::Plan, &name_of(plan), plan)
    }

    fn remove(&mut self, ty: PlanType, name: &str) -> Effects {
        self.respond(ty, &[], &[name]).unwrap()
    }

    /// Sends the tests' only group, complete.
    fn put_group(&mut self, pods: &[u8]) {
        self.put(PlanType::Slice, &names::slice_name(W, 1, 0), &mk_slice(pods));
        self.put(PlanType::Group, W, &plan::Group { shards: 1, ..Default::default() });
    }

    fn respond(
        &mut self,
        ty: PlanType,
        upsert: &[(&str, Vec<u8>)],
        removed: &[&str],
    ) -> Result<Effects, String> {
        let upsert: Vec<_> = upsert
            .iter()
            .map(|(name, body)| (Name::from(*name), Version::of(body), Bytes::from(body.clone())))
            .collect();
        let removed: Vec<_> = removed.iter().map(|name| Name::from(*name)).collect();
        self.world.apply_feed(ty, &upsert, &removed)
    }

    /// Returns the names of a proxy's resources of a type; `None` if there is no such proxy.
    fn names(&mut self, id: &ProxyId, ty: Envoy) -> Option<Vec<String>> {
        let view = self.world.open_envoy(id)?;
        let mut names: Vec<_> = view.snapshot(|s| s.iter(ty).map(|(name, _)| name.to_string()).collect());
        names.sort();
        Some(names)
    }

    fn listeners(&mut self, id: &ProxyId) -> Vec<String> {
        self.names(id, Envoy::Listener).unwrap()
    }

    /// Returns the addresses of cluster `c` of a Plan on the gateway; `None` if there is no such assignment.
    fn endpoints(&mut self, plan: &str) -> Option<Vec<String>> {
        use envoy_types::pb::envoy::config::core::v3::address::Address;
        use envoy_types::pb::envoy::config::endpoint::v3 as eds;
        let view = self.world.open_envoy(&gateway())?;
        let name = format!("A/ns/{plan}/c");
        let decode = |one: &Arc<Resource>| eds::ClusterLoadAssignment::decode(one.body()).unwrap();
        let assignment = view.snapshot(|s| s.get(Envoy::Endpoint, &name).map(decode))?;
        let endpoints = assignment.endpoints.into_iter().flat_map(|l| l.lb_endpoints);
        let address = |e: eds::LbEndpoint| match e.host_identifier {
            Some(eds::lb_endpoint::HostIdentifier::Endpoint(host)) => match host.address.unwrap().address {
                Some(Address::SocketAddress(socket)) => socket.address,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        Some(endpoints.map(address).collect())
    }

    /// Opens a stream of one type on the gateway, with all resources acknowledged.
    fn watch(&mut self, ty: Envoy) -> Watched {
        let mut watched = Watched {
            ty,
            watch: Watch::new(self.world.open_envoy(&gateway()).unwrap(), Variant::Delta, Some(ty)),
        };
        watched.request(String::new());
        watched.next();
        watched
    }
}

/// A proxy's stream of one type, with all responses acknowledged.
struct Watched {
    ty: Envoy,
    watch: Watch<Envoy>,
}

// === impl Watched ===

impl Watched {
    fn request(&mut self, nonce: String) {
        self.watch.request(Request { nonce, ..Request::new(Kind::Known(self.ty)) }, Instant::now());
    }

    /// Returns the responses since the last call, each as added and removed names.
    fn next(&mut self) -> Vec<(Vec<String>, Vec<String>)> {
        let mut all = Vec::new();
        while let Some(response) = self.watch.next(Instant::now()) {
            assert!(all.len() < 10, "the stream never stops");
            let put = response.resources.iter().map(|r| r.name().to_string()).collect();
            all.push((put, response.removed.iter().map(|n| n.to_string()).collect()));
            self.request(response.nonce);
        }
        all
    }
}
