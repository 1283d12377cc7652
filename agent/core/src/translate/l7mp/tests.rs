//! Tests of the translation: Plans in, JSON bodies out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use portreeve_api::model::{
    self, Address, Balancer, Cluster, Elsewhere, Endpoint, EndpointSource, HeaderField, Options, Origin,
    Plan, Protocol, Retry, Rewrite, Rule, RuleList, Secret, Selector, Socket, Source, Workload,
};
use serde_json::{Value, json};

use super::translation::translate;
use super::{L7mp, spec};
use crate::translate::{Defaults, Families, Lookup, ProxyKind, Request, Streams, Translation};

mod calls;

/// The pods of the only group, `workers`, and the uids of those whose check failed.
#[derive(Default)]
struct Fixture {
    workers: Option<Vec<Endpoint>>,
    failed: BTreeSet<String>,
}

impl Lookup for Fixture {
    fn group(&self, name: &str) -> Option<Vec<&Endpoint>> {
        assert_eq!(name, "workers");
        self.workers.as_ref().map(|all| all.iter().collect())
    }

    fn host(&self, _: &str, name: &str) -> Option<Vec<IpAddr>> {
        panic!("{name} is resolved by the proxy")
    }

    fn secret(&self, _: &str) -> Option<&Secret> {
        None
    }

    fn pod_failed(&self, endpoint: &Endpoint, _: NonZeroU16, _: Option<&str>) -> bool {
        self.failed.contains(&*endpoint.uid)
    }

    fn address_failed(&self, _: IpAddr, _: NonZeroU16, _: Option<&str>) -> bool {
        false
    }

    fn stale(&self, _: &Endpoint) -> bool {
        true
    }
}

fn mk_pod(uid: &str, ip: &str) -> Endpoint {
    Endpoint {
        uid: uid.into(),
        namespace: "ns".into(),
        name: uid.into(),
        node: "n".into(),
        ips: vec![ip.parse().unwrap()],
        created_ms: Some(1),
        terminating_ms: None,
        ready: true,
        source: "".into(),
    }
}

fn mk_socket(protocol: Protocol, port: u16) -> Socket {
    Socket::new(protocol, NonZeroU16::new(port))
}

fn mk_source(from: Source) -> EndpointSource {
    EndpointSource {
        name: "e".into(),
        from,
        port: NonZeroU16::new(9),
        health_port: NonZeroU16::new(1233),
        weight: None,
        source: None,
    }
}

fn mk_cluster(name: &str, socket: Socket, endpoints: Vec<EndpointSource>) -> Cluster {
    let place = Elsewhere::Proxy(String::new());
    Cluster { socket: Some(socket), endpoints, elsewhere: None, ..Cluster::elsewhere(name, place) }
}

fn mk_plan(kind: &str, listeners: Vec<model::Listener>, clusters: Vec<Cluster>) -> Plan {
    Plan {
        origin: Origin {
            api: "B".into(),
            kind: kind.into(),
            namespace: "ns".into(),
            name: "call".into(),
            uid: String::new(),
            created_ms: None,
        },
        workload: Workload {
            namespace: Some("ns".into()),
            selector: Selector::default(),
            proxy_name: None,
            node_name: None,
            proxy_kind: Some(ProxyKind::L7mp),
            other_kinds: true,
            service_group: None,
        },
        listeners,
        clusters,
        rule_lists: Vec::new(),
        dns_namespace: "ns".into(),
        needs: Vec::new(),
        envoy: Vec::new(),
        pod_bridge: None,
        tunnels: None,
    }
}

fn mk_listener(socket: Socket, rules: Vec<Rule>) -> model::Listener {
    model::Listener {
        name: "l".into(),
        socket: Some(socket),
        rules,
        tls: None,
        sources: None,
        http: false,
        options: None,
        needs: Vec::new(),
    }
}

fn run(plan: &Plan, lookup: &Fixture) -> Option<Translation<L7mp>> {
    let request = Request {
        plan,
        families: Families::DualV6First,
        streams: &Streams::Aggregated,
        denied: &BTreeSet::new(),
        running: &BTreeSet::new(),
        defaults: Defaults::default(),
        called: &BTreeMap::new(),
    };
    translate(&request, lookup)
}

fn bodies(done: &Translation<L7mp>) -> BTreeMap<(L7mp, String), Value> {
    let body = |(ty, one): &(L7mp, std::sync::Arc<portreeve_xds::Resource>)| {
        ((*ty, one.name().to_string()), serde_json::from_slice(one.body()).unwrap())
    };
    done.outputs.iter().map(body).collect()
}

#[test]
fn each_protocol_has_its_own_spec() {
    let address = |ip: &str, port| Address { ip: ip.parse().ok(), port: NonZeroU16::new(port) };
    let field = |from: &str, key: &str| HeaderField {
        from: Some(from.into()).filter(|_| key.is_empty()),
        to: Some("/labels".into()).filter(|_| key.is_empty()),
        key: Some(key.into()).filter(|key: &String| !key.is_empty()),
        value: Some("v".into()).filter(|_| !key.is_empty()),
    };
    let with = |protocol, settings: &[(&str, &str)]| Socket {
        settings: settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ..mk_socket(protocol, 0)
    };
    let table = [
        (
            Socket { connect: Some(address("192.168.0.1", 8001)), ..mk_socket(Protocol::Udp, 8001) },
            json!({"protocol": "UDP", "port": 8001, "connect": {"address": "192.168.0.1", "port": 8001}}),
        ),
        (
            Socket { bind: Some(address("127.0.0.1", 0)), ..with(Protocol::Udp, &[(spec::MODE, "server")]) },
            json!({"protocol": "UDP", "bind": {"address": "127.0.0.1"}, "options": {"mode": "server"}}),
        ),
        (
            Socket { path: Some("/p".into()), ..mk_socket(Protocol::Websocket, 80) },
            json!({"protocol": "WebSocket", "port": 80, "path": "/p"}),
        ),
        (
            Socket { filename: Some("/run/s".into()), ..mk_socket(Protocol::Unix, 0) },
            json!({"protocol": "UnixDomainSocket", "filename": "/run/s"}),
        ),
        (
            Socket {
                transport: Some(Box::new(mk_socket(Protocol::Udp, 19000))),
                header: vec![field("/labels", ""), field("", "k")],
                ..mk_socket(Protocol::JsonSocket, 0)
            },
            json!({"protocol": "JSONSocket", "transport": {"protocol": "UDP", "port": 19000},
                "header": [{"path": {"from": "/labels", "to": "/labels"}}, {"set": {"key": "k", "value": "v"}}]}),
        ),
        (with(Protocol::Sync, &[("query", "/q")]), json!({"protocol": "Sync", "query": "/q"})),
        (with(Protocol::Logger, &[("log_file", "-")]), json!({"protocol": "Logger", "log_file": "-"})),
        (mk_socket(Protocol::Echo, 0), json!({"protocol": "Echo"})),
        (mk_socket(Protocol::JsonEncap, 0), json!({"protocol": "JSONEncap"})),
    ];
    for (socket, expected) in table {
        assert_eq!(Value::Object(spec::of(&socket).unwrap()), expected);
    }
    assert_eq!(spec::of(&mk_socket(Protocol::Unknown(99), 1)), None);
}

/// A Plan with one listener, whose rules lead to each kind of cluster.
fn mk_call() -> Plan {
    let retry = Retry { on: Some("always".into()), attempts: std::num::NonZeroU32::new(3), timeout: None };
    let route = model::Route {
        destination: "worker".into(),
        ingress: vec!["sync".into(), "meter".into()],
        egress: Vec::new(),
        retry: Some(retry),
    };
    let rule = Rule {
        match_json: Some(json!({"op": "defined", "path": "/IP"}).to_string()),
        rewrites: vec![Rewrite { path: "/labels/id".into(), value_json: "\"1\"".into() }],
        route: Some(route),
        ..Rule::default()
    };
    let mut opened = mk_listener(mk_socket(Protocol::Udp, 8001), vec![rule, Rule::forward("echo")]);
    opened.options = Some(Options {
        idle_timeout: None,
        remove_orphan_sessions: true,
        track: Some(Duration::from_secs(3)),
    });
    let sources =
        vec![mk_source(Source::Group("workers".into())), mk_source(Source::Host("db.example".into()))];
    let mut worker = mk_cluster("worker", mk_socket(Protocol::Udp, 9), sources);
    worker.balancer = Some(Balancer::MetadataPath("/labels/id".into()));
    worker.health_check = Some(model::HealthCheck::default());
    let clusters = vec![
        worker,
        Cluster::elsewhere("sync", Elsewhere::Plan("B/Target/ns/sync/cluster".into())),
        Cluster::elsewhere("meter", Elsewhere::Proxy("meter".into())),
        mk_cluster("echo", mk_socket(Protocol::Echo, 0), Vec::new()),
        mk_cluster("unused", mk_socket(Protocol::Echo, 0), Vec::new()),
    ];
    mk_plan("VirtualService", vec![opened], clusters)
}

fn mk_fixture() -> Fixture {
    let workers = vec![mk_pod("a", "10.0.0.2"), mk_pod("b", "10.0.0.1"), mk_pod("c", "10.0.0.3")];
    Fixture { workers: Some(workers), failed: BTreeSet::new() }
}

fn name(part: &str) -> String {
    format!("B/VirtualService/ns/call/{part}")
}

#[test]
fn listener_leads_to_its_own_clusters_to_those_of_other_plans_and_to_the_proxys_own() {
    let done = run(&mk_call(), &mk_fixture()).unwrap();
    let rules = json!([
        {
            "match": {"op": "defined", "path": "/IP"},
            "rewrite": [{"path": "/labels/id", "value": "1"}],
            "route": {
                "destination": {"cluster": name("worker")},
                "ingress": [{"cluster": "B/Target/ns/sync/cluster"}, {"own": "meter"}],
                "retry": {"retry_on": "always", "num_retries": 3, "timeout": 2000},
            },
        },
        {"route": {
            "destination": {"cluster": name("echo")},
            "retry": {"retry_on": "never", "num_retries": 1, "timeout": 2000},
        }},
    ]);
    let listener = json!({
        "spec": {"protocol": "UDP", "port": 8001}, "track": 3, "ends_sessions": true, "rules": {"these": rules},
    });
    let worker = json!({
        "spec": {"protocol": "UDP", "port": 9},
        "loadbalancer": {"policy": "ConsistentHash", "key": "/labels/id"},
    });
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "db.example"].map(|ip| json!({"address": ip}));
    let expected = BTreeMap::from([
        ((L7mp::Listener, name("l")), listener),
        ((L7mp::Cluster, name("worker")), worker),
        ((L7mp::Endpoints, name("worker")), json!({"endpoints": addresses})),
        ((L7mp::Cluster, name("echo")), json!({"spec": {"protocol": "Echo"}})),
        ((L7mp::Endpoints, name("echo")), json!({"endpoints": []})),
    ]);
    assert_eq!(bodies(&done), expected);
    assert!(done.remarks.is_empty(), "{:?}", done.remarks);
    assert_eq!((done.census.endpoints, done.census.healthy), (4, 4));
}

#[test]
fn endpoint_whose_check_failed_is_left_out_and_an_unknown_group_holds_the_plan_back() {
    assert!(run(&mk_call(), &Fixture::default()).is_none());
    let mut fixture = mk_fixture();
    fixture.failed.insert("a".into());
    let done = run(&mk_call(), &fixture).unwrap();
    let left = ["10.0.0.1", "10.0.0.3", "db.example"].map(|ip| json!({"address": ip}));
    assert_eq!(bodies(&done)[&(L7mp::Endpoints, name("worker"))], json!({"endpoints": left}));
    assert_eq!((done.census.endpoints, done.census.healthy), (4, 3));
}

#[test]
fn plan_of_a_target_has_its_cluster_and_plan_of_a_rule_its_insertion() {
    let target =
        mk_plan("Target", Vec::new(), vec![mk_cluster("cluster", mk_socket(Protocol::Echo, 0), Vec::new())]);
    let done = run(&target, &Fixture::default()).unwrap();
    let name = "B/Target/ns/call/cluster".to_owned();
    assert!(bodies(&done).keys().eq(&[(L7mp::Cluster, name.clone()), (L7mp::Endpoints, name)]));

    let mut rule =
        mk_plan("Rule", Vec::new(), vec![Cluster::elsewhere("m", Elsewhere::Proxy("meter".into()))]);
    let list = RuleList { list: "worker-rtp".into(), position: 2, rule: Some(Rule::forward("m")) };
    rule.rule_lists.push(list);
    let done = run(&rule, &Fixture::default()).unwrap();
    let retry = json!({"retry_on": "never", "num_retries": 1, "timeout": 2000});
    let body = json!({"list": "worker-rtp", "position": 2,
        "rule": {"route": {"destination": {"own": "meter"}, "retry": retry}}});
    assert_eq!(bodies(&done), BTreeMap::from([((L7mp::Rule, "B/Rule/ns/call/rule-0".into()), body)]));
}

#[test]
fn listener_of_a_named_list_refers_to_it() {
    let named = Rule { apply: Some("theirs".into()), ..Rule::default() };
    let plan =
        mk_plan("VirtualService", vec![mk_listener(mk_socket(Protocol::Tcp, 1), vec![named])], Vec::new());
    let done = run(&plan, &Fixture::default()).unwrap();
    assert_eq!(bodies(&done).into_values().next().unwrap()["rules"], json!({"list": "theirs"}));
}

#[test]
fn what_l7mp_lacks_is_refused_by_name_and_takes_nothing_else_with_it() {
    let good = mk_listener(mk_socket(Protocol::Udp, 1), vec![Rule::forward("c")]);
    let broken = |change: &dyn Fn(&mut model::Listener)| {
        let mut listener = good.clone();
        listener.name = "broken".into();
        change(&mut listener);
        listener
    };
    let turns = Cluster {
        balancer: Some(Balancer::RoundRobin),
        ..mk_cluster("turns", mk_socket(Protocol::Udp, 9), Vec::new())
    };
    type Change = Box<dyn Fn(&mut model::Listener)>;
    let table: [(&str, Change); 7] = [
        ("socket.protocol", Box::new(|one| one.socket = Some(mk_socket(Protocol::Sync, 1)))),
        ("socket.port 0", Box::new(|one| one.socket = Some(mk_socket(Protocol::Tcp, 0)))),
        (
            "options.idle_timeout_ms",
            Box::new(|one| {
                let idle_timeout = Some(Duration::from_secs(1));
                one.options = Some(Options { idle_timeout, ..Options::default() });
            }),
        ),
        ("balancer.round_robin", Box::new(|one| one.rules = vec![Rule::forward("turns")])),
        ("nowhere, which is no cluster", Box::new(|one| one.rules = vec![Rule::forward("nowhere")])),
        ("match is not JSON", Box::new(|one| one.rules[0].match_json = Some("{".into()))),
        ("listener.new", Box::new(|one| one.needs = vec!["listener.new".into()])),
    ];
    for (text, change) in table {
        let clusters = vec![mk_cluster("c", mk_socket(Protocol::Udp, 9), Vec::new()), turns.clone()];
        let plan = mk_plan("VirtualService", vec![good.clone(), broken(&change)], clusters);
        let done = run(&plan, &Fixture::default()).unwrap();
        let [remark] = done.remarks.as_slice() else { panic!("{text}: {:?}", done.remarks) };
        assert_eq!(remark.at, "broken");
        assert!(remark.text.contains(text), "{text}: {}", remark.text);
        assert_eq!(bodies(&done).len(), 3, "{text}: the other listener, its cluster and its endpoints");
    }
}
