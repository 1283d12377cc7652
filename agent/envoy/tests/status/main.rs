//! Statuses and reports for a world and its proxies' answers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use portreeve_agent_core::fleet::Announced;
use portreeve_agent_core::status::node_report::{Facts, Pace, said};
use portreeve_agent_core::status::supervised::{Status, Wanted};
use portreeve_agent_core::status::*;
use portreeve_agent_core::translate::Families;
use portreeve_agent_core::world::{ProxyId, World};
use portreeve_api::keeper_state::{self as keeper, State, Usage};
use portreeve_api::own::node_report::{NodeReportStatus, Phase};
use portreeve_api::pod::Pod;
use portreeve_api::refs::PlanName;
use portreeve_api::report::PlanStatus;
use portreeve_api::{PlanType, plan, selector};
use portreeve_envoy::Envoy;
use portreeve_xds::{Event, Version};
use prost::Message;

mod elsewhere;
mod node_report;
mod refused;
mod strangers;

/// A world with its proxies and its status book.
struct Rig {
    world: World,
    /// Number of streams so far.
    streams: u64,
    book: DueStatuses,
    statuses: Statuses,
}

fn gateway(name: &str) -> ProxyId {
    ProxyId::Node(name.into())
}

fn labels(app: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), app.to_owned())])
}

/// A Plan `A/ns/<name>` for proxies with `app=gw`: a UDP listener `l` on `port` with these endpoints.
fn mk_plan(name: &str, port: u32, endpoints: &[&str]) -> plan::Plan {
    let socket = |port| plan::Socket { protocol: plan::Protocol::Udp.into(), port, ..Default::default() };
    let route = plan::Route { destination: "c".into(), ..Default::default() };
    let source = |ip: &&str| plan::EndpointSource {
        from: Some(plan::endpoint_source::From::Ip((*ip).into())),
        port: 9,
        ..Default::default()
    };
    let origin = plan::Origin {
        api: "A".into(),
        namespace: "ns".into(),
        name: name.into(),
        created_ms: i64::from(port),
        ..Default::default()
    };
    plan::Plan {
        workload: Some(plan::Workload {
            namespace: "ns".into(),
            selector: Some((&selector::from_map(&labels("gw"))).into()),
            ..Default::default()
        }),
        listeners: vec![plan::Listener {
            name: "l".into(),
            socket: Some(socket(port)),
            rules: vec![plan::Rule { route: Some(route), ..Default::default() }],
            ..Default::default()
        }],
        clusters: vec![plan::Cluster {
            name: "c".into(),
            socket: Some(socket(0)),
            endpoints: endpoints.iter().map(source).collect(),
            balancer: Some(plan::Balancer { policy: Some(plan::balancer::Policy::SourceAddress(true)) }),
            ..Default::default()
        }],
        dns_namespace: "ns".into(),
        origin: Some(origin),
        ..Default::default()
    }
}

fn mk_pod(uid: &str, app: &str) -> Pod {
    Pod {
        uid: uid.into(),
        namespace: "ns".into(),
        name: uid.into(),
        labels: labels(app),
        node: Some("n".into()),
        ips: vec![[10, 0, 0, 1].into()],
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

fn kept(phase: keeper::Phase) -> BTreeMap<String, Status> {
    let last_exit = Some(keeper::Exit::Signal(9));
    let state =
        State { envoy_pid: Some(7), epoch: 2, restarts: 3, last_exit, phase, ..State::untold("gw", 1, 0) };
    let status =
        Status { wanted: Wanted::Running, attached: true, current: true, state: Some(state), fault: None };
    BTreeMap::from([("gw".to_owned(), status)])
}

// === impl Rig ===

impl Rig {
    /// Returns a rig with one NodeProxy `gw`, whose proxy is connected.
    fn new() -> Self {
        let mut rig = Self::alone();
        rig.connect(&gateway("gw"));
        rig
    }

    /// Returns a rig with one NodeProxy `gw`, whose proxy has not connected.
    fn alone() -> Self {
        let (book, statuses) = (DueStatuses::default(), Statuses::new());
        let mut rig = Self {
            world: World::new(portreeve_envoy::registry::fleets(), Families::V4),
            streams: 0,
            book,
            statuses,
        };
        rig.add_gateway("gw");
        rig
    }

    fn add_gateway(&mut self, name: &str) {
        let proxy = plan::NodeProxy { labels: labels("gw"), all_namespaces: true, ..Default::default() };
        self.put(PlanType::NodeProxy, name, &proxy);
    }

    fn put(&mut self, ty: PlanType, name: &str, body: &impl Message) {
        let body = body.encode_to_vec();
        let upsert = [(name.into(), Version::of(&body), Bytes::from(body))];
        self.world.apply_feed(ty, &upsert, &[]).unwrap();
    }

    fn put_plan(&mut self, plan: &plan::Plan) {
        self.put(PlanType::Plan, PlanName::from(plan.origin.as_ref().unwrap()).as_name(), plan);
    }

    fn connect(&mut self, id: &ProxyId) {
        self.world.open::<Envoy>(id, &Announced::default()).unwrap();
        self.streams += 1;
        self.world.welcome::<Envoy>(self.streams, id, Announced::default());
    }

    /// Lets the proxy accept all resources of these types.
    fn accept(&mut self, id: &ProxyId, types: &[Envoy]) {
        let view = self.world.open::<Envoy>(id, &Announced::default()).unwrap();
        for ty in types {
            let resources: Vec<_> =
                view.snapshot(|s| s.iter(*ty).map(|(name, r)| (name.clone(), r.version())).collect());
            let had = self.world.fleet::<Envoy>().unwrap().answers()[id].accepted.clone();
            let gone =
                had.into_keys().filter(|(of, name)| of == ty && !resources.iter().any(|(n, _)| n == name));
            let removed = gone.map(|(_, name)| name).collect();
            self.world.answered(
                id,
                &Event::Acked { ty: *ty, resources: resources.into(), removed, claimed: false },
            );
        }
    }

    fn accept_all(&mut self, id: &ProxyId) {
        self.accept(id, &[Envoy::Cluster, Envoy::Endpoint, Envoy::Listener]);
    }

    fn refuse(&mut self, id: &ProxyId, name: &str, text: &str) {
        let view = self.world.open::<Envoy>(id, &Announced::default()).unwrap();
        let version = view.snapshot(|s| s.get(Envoy::Listener, name).unwrap().version());
        let (names, versions, detail) = (vec![name.into()], vec![version], text.to_owned());
        let ty = Envoy::Listener;
        self.world.answered(id, &Event::Nacked { ty, names, versions, detail, transient: false });
    }

    fn settle(&mut self) -> bool {
        self.book.touch(self.world.take_touched());
        self.book.settle(&self.world, &mut self.statuses)
    }

    fn status(&mut self, plan: &str) -> PlanStatus {
        self.settle();
        (**self.statuses.get(format!("A/ns/{plan}").as_str()).unwrap()).clone()
    }

    /// Returns the counts wanted, acked, nacked, unreachable, and without a proxy.
    fn counts(&mut self, plan: &str) -> [u32; 5] {
        let s = self.status(plan);
        [s.wanted, s.acked, s.nacked, s.unreachable, s.without_proxy]
    }

    fn report(&mut self, keepers: &BTreeMap<String, Status>) -> NodeReportStatus {
        self.settle();
        let sockets = Default::default();
        let facts = Facts { world: &self.world, statuses: &self.statuses, keepers, sockets: &sockets };
        said(&facts, &NodeReportStatus::default(), Timestamp::UNIX_EPOCH)
    }
}

#[test]
fn plan_is_acked_when_every_resource_is_accepted_at_the_version_that_is_served() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.9"]));
    assert_eq!(rig.counts("a"), [1, 0, 0, 0, 0]);
    rig.accept(&gateway("gw"), &[Envoy::Cluster, Envoy::Listener]);
    assert_eq!(rig.counts("a"), [1, 0, 0, 0, 0], "the assignment is still out");
    rig.accept_all(&gateway("gw"));
    assert_eq!(rig.counts("a"), [1, 1, 0, 0, 0]);
    rig.put_plan(&mk_plan("a", 2, &["10.0.0.9"]));
    assert_eq!(rig.counts("a"), [1, 0, 0, 0, 0], "another port is another version");
}

#[test]
fn plan_that_leads_to_the_same_resources_is_acked_at_once() {
    let mut rig = Rig::new();
    let mut plan = mk_plan("a", 1, &["10.0.0.9"]);
    rig.put_plan(&plan);
    rig.accept_all(&gateway("gw"));
    let before = rig.status("a");
    plan.origin.as_mut().unwrap().kind = "Other".into();
    rig.put_plan(&plan);
    let after = rig.status("a");
    assert_eq!((before.acked, after.acked), (1, 1));
    assert_ne!(before.version, after.version);
}

#[test]
fn plan_whose_group_is_not_complete_is_not_acked() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.9"]));
    rig.accept_all(&gateway("gw"));
    let mut next = mk_plan("a", 1, &["10.0.0.9"]);
    next.clusters[0].endpoints[0].from = Some(plan::endpoint_source::From::Group("ns/app=w".into()));
    rig.put_plan(&next);
    rig.accept_all(&gateway("gw"));
    assert_eq!(rig.counts("a"), [1, 0, 0, 0, 0], "what the proxy has is of the earlier version");
}

#[test]
fn node_proxy_counts_whether_connected_or_not_and_a_pod_once_it_was() {
    let mut rig = Rig::new();
    rig.add_gateway("second");
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.9"]));
    rig.world.apply_pod(mk_pod("p", "gw"));
    rig.world.apply_pod(mk_pod("other", "x"));
    assert_eq!(rig.counts("a"), [2, 0, 0, 1, 1]);
    let pod = ProxyId::Pod("p".into());
    rig.connect(&pod);
    assert_eq!(rig.counts("a"), [3, 0, 0, 1, 0]);
    rig.world.part::<Envoy>(rig.streams, Instant::now());
    assert_eq!(rig.counts("a"), [3, 0, 0, 2, 0]);
    rig.world.delete_pod(&"p".into());
    assert_eq!(rig.counts("a"), [2, 0, 0, 1, 0], "without being asked to look");
}

#[test]
fn node_whose_word_of_the_hub_is_too_old_says_so() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.9"]));
    rig.accept_all(&gateway("gw"));
    for (stale, status, reason) in [(true, "False", "Stale"), (false, "True", "Programmed")] {
        rig.world.set_stale(stale);
        let report = rig.report(&BTreeMap::new());
        let found = &report.conditions[0];
        assert_eq!((&*found.status, &*found.reason), (status, reason));
        assert_eq!(found.message.contains("--max-stale"), stale, "{}", found.message);
        assert!(found.message.contains("1 of 1 Plans"), "{}", found.message);
    }
}

#[test]
fn refusal_is_told_in_the_proxys_words_until_the_version_changes() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.9"]));
    rig.refuse(&gateway("gw"), "A/ns/a/l", &"no ".repeat(1000));
    let status = rig.status("a");
    assert_eq!((status.nacked, status.acked), (1, 0));
    assert!(status.refusal.starts_with("nodeproxy/gw, listener A/ns/a/l: no no"), "{}", status.refusal);
    assert!(status.refusal.len() <= 600);
    rig.put_plan(&mk_plan("a", 2, &["10.0.0.9"]));
    assert_eq!(rig.counts("a"), [1, 0, 0, 0, 0], "of the new version nothing is known yet");
}

#[test]
fn lost_port_names_the_winner_and_blocks_no_other_plan() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("old", 1, &["10.0.0.9"]));
    let mut young = mk_plan("young", 2, &["10.0.0.9"]);
    young.listeners[0].socket.as_mut().unwrap().port = 1;
    rig.put_plan(&young);
    rig.accept_all(&gateway("gw"));
    assert!(rig.status("old").conflicts.is_empty());
    let conflicts = rig.status("young").conflicts;
    assert!(conflicts.len() == 1 && conflicts[0].contains("A/ns/old/l"), "{conflicts:?}");
    let report = rig.report(&BTreeMap::new());
    assert_eq!((&*report.conflicts[0].object, &*report.conflicts[0].winner), ("A/ns/young", "A/ns/old"));
    assert_eq!(report.conditions[0].reason, "PortConflict");
}

#[test]
fn endpoints_are_counted_once_for_all_proxies_of_the_node() {
    let mut rig = Rig::new();
    rig.add_gateway("second");
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.8", "10.0.0.9"]));
    let status = rig.status("a");
    assert_eq!((status.endpoints, status.healthy, status.unchecked), (2, 2, 2));
}

#[test]
fn withdrawn_plan_is_gone_when_no_proxy_runs_anything_of_it() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.9"]));
    rig.accept_all(&gateway("gw"));
    rig.settle();
    rig.world.apply_feed(PlanType::Plan, &[], &["A/ns/a".into()]).unwrap();
    assert!(!rig.settle(), "the proxy still runs it");
    rig.accept(&gateway("gw"), &[Envoy::Listener]);
    assert!(!rig.settle(), "and its cluster");
    rig.accept_all(&gateway("gw"));
    assert!(rig.settle());
    assert!(rig.statuses.is_empty());
}

#[test]
fn withdrawn_plan_is_gone_at_once_when_no_proxy_is_connected() {
    let mut rig = Rig::alone();
    rig.put_plan(&mk_plan("a", 1, &["10.0.0.9"]));
    rig.settle();
    rig.world.apply_feed(PlanType::Plan, &[], &["A/ns/a".into()]).unwrap();
    assert!(rig.settle() && rig.statuses.is_empty());
}

#[test]
fn change_of_one_plan_looks_at_one_plan() {
    let mut rig = Rig::new();
    for i in 0..100 {
        rig.put_plan(&mk_plan(&format!("p{i}"), 1000 + i, &["10.0.0.9"]));
    }
    rig.settle();
    let before = rig.book.looked_at();
    rig.put_plan(&mk_plan("p7", 1007, &["10.0.0.7"]));
    rig.settle();
    assert_eq!(rig.book.looked_at() - before, 1);
    rig.world.apply_pod(mk_pod("nobody", "x"));
    rig.settle();
    assert_eq!(rig.book.looked_at() - before, 1, "a pod that no Plan is for");
}
