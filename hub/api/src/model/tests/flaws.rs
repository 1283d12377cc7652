//! What can't be read is refused by name, and what only a newer hub knows is kept.

use super::*;

/// A bend of a Plan that this version can read, and what is told of it.
type Case = (&'static str, fn(&mut proto::Plan));

/// A Plan with listener `udp` on a port, and cluster `c` with an entry `e` that is an address.
fn mk_plan() -> proto::Plan {
    let origin =
        proto::Origin { api: "A".into(), namespace: "ns".into(), name: "name".into(), ..Default::default() };
    let socket = |port| Some(proto::Socket { protocol: 1, port, ..Default::default() });
    let from = Some(proto::endpoint_source::From::Ip("10.0.0.1".into()));
    let source = proto::EndpointSource { name: "e".into(), from, port: 9, ..Default::default() };
    proto::Plan {
        origin: Some(origin),
        workload: Some(proto::Workload { selector: Some(proto::Selector::default()), ..Default::default() }),
        listeners: vec![proto::Listener { name: "udp".into(), socket: socket(2000), ..Default::default() }],
        clusters: vec![proto::Cluster {
            name: "c".into(),
            socket: socket(0),
            endpoints: vec![source],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn socket(plan: &mut proto::Plan) -> &mut proto::Socket {
    plan.listeners[0].socket.get_or_insert_default()
}

fn source(plan: &mut proto::Plan) -> &mut proto::EndpointSource {
    &mut plan.clusters[0].endpoints[0]
}

fn workload(plan: &mut proto::Plan) -> &mut proto::Workload {
    plan.workload.get_or_insert_default()
}

fn require(plan: &mut proto::Plan, operator: i32, values: &[&str]) {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    let requirement = proto::Requirement { key: "app".into(), operator, values };
    workload(plan).selector.get_or_insert_default().labels.push(requirement);
}

const REFUSED: &[Case] = &[
    ("Plan A/ns/name: listener udp: socket.port 70000 is not a port (1 to 65535)", |p| {
        socket(p).port = 70_000
    }),
    ("Plan A/ns/name: listener udp: socket.bind.ip \"eth0\" is not an IP address", |p| {
        socket(p).bind = Some(proto::Address { ip: "eth0".into(), port: 0 });
    }),
    ("Plan A/ns/name: listener udp: socket.connect.port 65536 is not a port (1 to 65535)", |p| {
        socket(p).connect = Some(proto::Address { ip: String::new(), port: 65_536 });
    }),
    ("Plan A/ns/name: listener udp: socket.transport.port 65536 is not a port (1 to 65535)", |p| {
        socket(p).transport = Some(Box::new(proto::Socket { port: 65_536, ..Default::default() }));
    }),
    ("Plan A/ns/name: listener udp: sources.cidrs \"10.0.0.0/33\" is not a network, as 10.0.0.0/8", |p| {
        let cidrs = vec!["10.0.0.0/33".into()];
        p.listeners[0].sources = Some(proto::SourcePolicy { cidrs, ..Default::default() });
    }),
    ("Plan A/ns/name: listener : name is empty", |p| p.listeners[0].name.clear()),
    ("Plan A/ns/name: cluster : name is empty", |p| p.clusters[0].name.clear()),
    ("Plan A/ns/name: cluster c: endpoints[e].ip \"10.0.0\" is not an IP address", |p| {
        source(p).from = Some(proto::endpoint_source::From::Ip("10.0.0".into()));
    }),
    ("Plan A/ns/name: cluster c: endpoints[e].group is empty", |p| {
        source(p).from = Some(proto::endpoint_source::From::Group(String::new()));
    }),
    ("Plan A/ns/name: cluster c: endpoints[e].port 65536 is not a port (1 to 65535)", |p| {
        source(p).port = 65_536;
    }),
    ("Plan A/ns/name: cluster c: endpoints[e].health_port 65536 is not a port (1 to 65535)", |p| {
        source(p).health_port = 65_536;
    }),
    ("Plan A/ns/name: cluster c: balancer.source_address is false", |p| {
        let policy = Some(proto::balancer::Policy::SourceAddress(false));
        p.clusters[0].balancer = Some(proto::Balancer { policy });
    }),
    ("Plan A/ns/name: workload is missing", |p| p.workload = None),
    ("Plan A/ns/name: workload.selector is missing", |p| workload(p).selector = None),
    ("Plan A/ns/name: workload.selector.labels[app].operator 99 is not known to version ", |p| {
        require(p, 99, &["w"]);
    }),
    ("Plan A/ns/name: workload.selector.labels[app].operator 0 is not known to version ", |p| {
        require(p, 0, &[]);
    }),
    ("Plan A/ns/name: workload.selector.labels[app].values are missing: the operator needs some", |p| {
        require(p, 2, &[]);
    }),
    ("Plan A/ns/name: workload.selector.labels[app].values are there: the operator takes none", |p| {
        require(p, 3, &["w"]);
    }),
    ("Plan A/ns/name: workload.proxy_kind 99 is not known to version ", |p| workload(p).proxy_kind = 99),
    ("Plan : origin is missing", |p| p.origin = None),
    ("Plan : origin.name is empty", |p| p.origin.get_or_insert_default().name.clear()),
    ("Plan A/ns/name: rule_lists.list is empty", |p| p.rule_lists.push(proto::RuleList::default())),
];

#[test]
fn plan_that_makes_no_sense_is_refused_by_its_name_and_field() {
    assert!(Plan::try_from(mk_plan()).is_ok());
    for (expected, bend) in REFUSED {
        let mut message = mk_plan();
        bend(&mut message);
        let told = Plan::try_from(message).unwrap_err().to_string();
        assert!(told.starts_with(expected), "{told}\nexpected: {expected}");
        assert_eq!(told.contains("update the agent"), expected.ends_with("version "), "{told}");
    }
}

#[test]
fn what_only_a_newer_hub_knows_of_one_listener_or_cluster_is_kept() {
    let mut message = mk_plan();
    (socket(&mut message).protocol, socket(&mut message).scope) = (99, 98);
    source(&mut message).from = None;
    message.clusters[0].balancer = Some(proto::Balancer { policy: None });
    message.listeners[0].needs.push("new".into());
    let plan = Plan::try_from(message.clone()).unwrap();
    let opened = plan.listeners[0].socket.as_ref().unwrap();
    assert_eq!((opened.protocol, opened.scope), (Protocol::Unknown(99), Scope::Unknown(98)));
    let cluster = plan.cluster("c").unwrap();
    assert_eq!((&cluster.endpoints[0].from, &cluster.balancer), (&Source::Unknown, &Some(Balancer::Unknown)));
    assert_eq!(plan.listeners[0].needs, ["new"]);
    assert_eq!(proto::Plan::from(&plan), message);
}

#[test]
fn node_proxy_that_makes_no_sense_is_refused_by_its_field() {
    let envoy = proto::EnvoySettings { health_listener: 70_000, ..Default::default() };
    let settings = Some(proto::node_proxy::Settings::Envoy(envoy));
    let message = proto::NodeProxy { settings, ..Default::default() };
    let told = NodeProxy::try_from(message).unwrap_err().to_string();
    assert_eq!(told, "envoy.health_listener 70000 is not a port (1 to 65535)");
    let requirement = proto::Requirement { key: "team".into(), operator: 99, values: Vec::new() };
    let selector = proto::Selector { labels: vec![requirement], fields: Vec::new() };
    let message = proto::NodeProxy { namespace_selector: Some(selector), ..Default::default() };
    let told = NodeProxy::try_from(message).unwrap_err().to_string();
    assert!(
        told.starts_with("namespace_selector.labels[team].operator 99 is not known to version "),
        "{told}"
    );
}

#[test]
fn endpoint_with_an_address_that_is_none_is_refused_by_its_uid() {
    let message = proto::Endpoint { uid: "u-1".into(), ips: vec!["nonsense".into()], ..Default::default() };
    let told = Endpoint::try_from(message).unwrap_err().to_string();
    assert_eq!(told, "endpoint u-1: ips \"nonsense\" is not an IP address");
}

#[test]
fn network_is_an_address_and_at_most_its_bits() {
    for good in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/128"] {
        assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
    }
    for bad in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0.0/-1", "ten/8"] {
        assert_eq!(bad.parse::<Cidr>(), Err(NotACidr), "{bad}");
    }
}
