//! What an Envoy can express of API B: each form as a golden text, and the fields that it refuses.

use serde_json::{Value, json};

use super::golden::assert_golden;
use super::*;

/// A VirtualService with a listener of this protocol at port 8001. Each rule has a condition, if it isn't null, and its own
/// cluster: `c0` to port 9000, `c1` to port 9001, and so on.
fn mk_mesh(protocol: plan::Protocol, conditions: &[Value]) -> plan::Plan {
    let mut plan = mk_plan();
    let origin = plan.origin.as_mut().unwrap();
    (origin.api, origin.kind) = ("B".into(), "VirtualService".into());
    let socket = |port| plan::Socket { protocol: protocol.into(), port, ..Default::default() };
    let mut rules = Vec::new();
    for (at, condition) in (0..).zip(conditions) {
        let (name, port) = (format!("c{at}"), 9000 + at);
        let match_json = if condition.is_null() { String::new() } else { condition.to_string() };
        let route = Some(plan::Route { destination: name.clone(), ..Default::default() });
        rules.push(plan::Rule { match_json, route, ..Default::default() });
        let sources = [group(), From::Ip("192.0.2.1".into())];
        let source = |from| plan::EndpointSource { from: Some(from), port, ..Default::default() };
        let (socket, endpoints) = (Some(socket(port)), sources.map(source).into());
        plan.clusters.push(plan::Cluster { name, socket, endpoints, ..Default::default() });
    }
    let options = Some(plan::Options { remove_orphan_sessions: true, ..Default::default() });
    let (name, socket) = ("listener".into(), Some(socket(8001)));
    plan.listeners.push(plan::Listener { name, socket, rules, options, ..Default::default() });
    plan
}

fn keyed_by(plan: &mut plan::Plan, path: &str) {
    for cluster in &mut plan.clusters {
        cluster.balancer = Some(plan::Balancer { policy: Some(Policy::MetadataPath(path.into())) });
    }
}

fn from(address: &str) -> Value {
    json!({"op": "test", "path": "/IP/src_addr", "value": address})
}

fn done(plan: &plan::Plan) -> Translation<Envoy> {
    run(plan, Families::V4, &mk_fixture(mk_pods(2)))
}

/// Asserts that a Plan is served in full, in this form.
fn assert_served(name: &str, plan: &plan::Plan) {
    let done = done(plan);
    assert!(done.remarks.is_empty(), "{name}: {:?}", done.remarks);
    assert_golden(&format!("mesh_{name}"), &done);
}

#[test]
fn datagrams_go_where_the_first_matching_rule_leads() {
    let ports = json!({"op": "and", "apply": [
        {"op": "starts", "path": "/IP/src_addr", "value": "10.0."},
        {"op": "more", "path": "/UDP/src_port", "value": 8999},
        {"op": "less", "path": "/UDP/src_port", "value": 9100},
    ]});
    let others = json!({"op": "not", "apply": [{"op": "in", "path": "/UDP/src_port", "value": [5, 6]}]});
    assert_served("udp", &mk_mesh(plan::Protocol::Udp, &[ports, others, Value::Null]));
}

#[test]
fn datagrams_of_one_peer_are_admitted() {
    let mut plan = mk_mesh(plan::Protocol::Udp, &[Value::Null]);
    let socket = plan.listeners[0].socket.as_mut().unwrap();
    socket.connect = Some(plan::Address { ip: "192.0.2.7".into(), port: 8001 });
    socket.settings.insert("mode".into(), "server".into());
    assert_served("udp_peer", &plan);
}

#[test]
fn connections_go_where_the_first_matching_rule_leads() {
    assert_served("tcp", &mk_mesh(plan::Protocol::Tcp, &[from("::ffff:10.0.0.7"), Value::Null]));
    assert_served("tcp_matched", &mk_mesh(plan::Protocol::Tcp, &[from("10.0.0.7")]));
}

#[test]
fn websocket_is_an_upgrade_with_retries_and_a_header_as_key() {
    let mut plan = mk_mesh(plan::Protocol::Websocket, &[Value::Null]);
    keyed_by(&mut plan, "/HTTP/headers/callid");
    let route = plan.listeners[0].rules[0].route.as_mut().unwrap();
    route.retry = Some(plan::Retry { on: "connect-failure".into(), attempts: 3, timeout_ms: 250 });
    assert_served("websocket", &plan);
}

#[test]
fn keys_are_the_senders_address_a_constant_or_chance() {
    let mut plan = mk_mesh(plan::Protocol::Udp, &[Value::Null]);
    keyed_by(&mut plan, "/IP/src_addr");
    plan.clusters[0].endpoints[0].weight = 3;
    assert_served("key_address", &plan);
    keyed_by(&mut plan, "/labels/session_id");
    let rewrite = plan::Rewrite { path: "/labels/session_id".into(), value_json: "\"1\"".into() };
    plan.listeners[0].rules[0].rewrites.push(rewrite);
    assert_served("key_constant", &plan);
    plan.listeners[0].rules[0].rewrites.clear();
    keyed_by(&mut plan, "");
    assert_served("key_chance", &plan);
}

#[test]
fn cluster_of_another_plan_is_used_by_its_name_and_defined_there() {
    let mut target = mk_mesh(plan::Protocol::Udp, &[Value::Null]);
    keyed_by(&mut target, "/labels/session_id");
    let mut call = target.clone();
    target.listeners.clear();
    target.clusters[0].name = "cluster".into();
    assert_served("target", &target);

    let cluster = &mut call.clusters[0];
    cluster.endpoints.clear();
    cluster.elsewhere = Some(plan::cluster::Elsewhere::OtherPlan("B/Target/ns/t/cluster".into()));
    let rewrite = plan::Rewrite { path: "/labels/session_id".into(), value_json: "\"1\"".into() };
    call.listeners[0].rules[0].rewrites.push(rewrite);
    assert_served("by_target", &call);
}

#[test]
fn rule_without_a_route_at_the_end_ends_its_sessions() {
    let mut plan = mk_mesh(plan::Protocol::Udp, &[from("10.0.0.7"), Value::Null]);
    plan.listeners[0].rules[1].route = None;
    let done = done(&plan);
    assert!(done.remarks.is_empty(), "{:?}", done.remarks);
    assert_eq!(done.outputs.len(), 3, "the listener and one cluster with its endpoints");
}

/// A change of a Plan, and the field in the remark.
type Case = (&'static str, fn(&mut plan::Plan));

fn socket(plan: &mut plan::Plan) -> &mut plan::Socket {
    plan.listeners[0].socket.as_mut().unwrap()
}

fn peer(plan: &mut plan::Plan) -> &mut plan::Socket {
    plan.clusters[0].socket.as_mut().unwrap()
}

fn rule(plan: &mut plan::Plan) -> &mut plan::Rule {
    &mut plan.listeners[0].rules[0]
}

fn route(plan: &mut plan::Plan) -> &mut plan::Route {
    rule(plan).route.as_mut().unwrap()
}

fn speak(plan: &mut plan::Plan, protocol: plan::Protocol) {
    peer(plan).set_protocol(protocol);
    peer(plan).port = 0;
}

/// Every field of API B that an Envoy can't express, by the rows of its checklist.
const REFUSED: &[Case] = &[
    // B4: listeners.
    ("socket.protocol HTTP", |p| socket(p).set_protocol(plan::Protocol::Http)),
    ("socket.protocol UnixDomainSocket", |p| socket(p).set_protocol(plan::Protocol::Unix)),
    ("socket.protocol JSONSocket", |p| socket(p).set_protocol(plan::Protocol::Jsonsocket)),
    ("socket.connect", |p| socket(p).connect = Some(plan::Address { ip: "192.0.2.7".into(), port: 8001 })),
    ("socket.path", |p| socket(p).path = "/p".into()),
    ("socket.filename", |p| socket(p).filename = "/run/s".into()),
    ("socket.transport", |p| socket(p).transport = Some(Box::default())),
    // B5: clusters.
    ("cluster c0 is of another protocol", |p| speak(p, plan::Protocol::Tcp)),
    ("cluster c0 is of another protocol", |p| speak(p, plan::Protocol::Websocket)),
    ("cluster c0 asks for socket.protocol UnixDomainSocket", |p| speak(p, plan::Protocol::Unix)),
    ("cluster c0 asks for socket.protocol JSONSocket", |p| speak(p, plan::Protocol::Jsonsocket)),
    ("cluster c0 asks for socket.protocol Sync", |p| speak(p, plan::Protocol::Sync)),
    ("cluster c0 asks for socket.protocol Echo", |p| speak(p, plan::Protocol::Echo)),
    ("cluster c0 asks for socket.protocol Discard", |p| speak(p, plan::Protocol::Discard)),
    ("cluster c0 asks for socket.protocol Logger", |p| speak(p, plan::Protocol::Logger)),
    ("cluster c0 asks for socket.protocol Stdio", |p| speak(p, plan::Protocol::Stdio)),
    ("cluster c0 asks for socket.protocol JSONEncap", |p| speak(p, plan::Protocol::JsonEncap)),
    ("cluster c0 asks for socket.protocol JSONDecap", |p| speak(p, plan::Protocol::JsonDecap)),
    ("cluster c0 asks for socket.protocol Metric", |p| speak(p, plan::Protocol::Metric)),
    ("cluster c0 asks for socket.protocol Prometheus", |p| speak(p, plan::Protocol::Prometheus)),
    ("cluster c0 asks for socket.protocol L7mpController", |p| speak(p, plan::Protocol::L7mpController)),
    ("cluster c0 asks for socket.settings", |p| drop(peer(p).settings.insert("query".into(), "/q".into()))),
    // B24: labels in the header of a JSONSocket.
    ("cluster c0 asks for socket.header", |p| peer(p).header.push(plan::HeaderField::default())),
    // B6: rules.
    ("rules[0].match_json at path /labels/a", |p| {
        rule(p).match_json = json!({"op": "defined", "path": "/labels/a"}).to_string()
    }),
    ("rules[0].match_json with op matches of /IP/src_addr", |p| {
        rule(p).match_json = json!({"op": "matches", "path": "/IP/src_addr", "value": "."}).to_string()
    }),
    ("rules[0].rewrites of /labels/a", |p| {
        rule(p).rewrites.push(plan::Rewrite { path: "/labels/a".into(), value_json: "\"b\"".into() })
    }),
    ("rules[0].apply", |p| rule(p).apply = "list".into()),
    ("rules[0] without a route before other rules", |p| {
        let other = rule(p).clone();
        p.listeners[0].rules.push(other);
        rule(p).route = None;
    }),
    // B7: routes.
    ("rules[0].route.ingress", |p| route(p).ingress.push("c0".into())),
    ("rules[0].route.egress", |p| route(p).egress.push("c0".into())),
    ("rules[0].route.retry on always", |p| {
        route(p).retry = Some(plan::Retry { on: "always".into(), attempts: 3, timeout_ms: 2000 })
    }),
    ("rules[0].route.retry on disconnect", |p| {
        route(p).retry = Some(plan::Retry { on: "disconnect".into(), attempts: 3, timeout_ms: 2000 })
    }),
    ("rules[0].route.retry on connect-failure", |p| {
        route(p).retry = Some(plan::Retry { on: "connect-failure".into(), attempts: 3, timeout_ms: 2000 })
    }),
    // B8: targets.
    ("cluster c0 asks for endpoints[].filename", |p| {
        p.clusters[0].endpoints[0].from = Some(From::Filename("/run/s".into()))
    }),
    // B11: load balancing.
    ("cluster c0 asks for balancer.metadata_path /labels/session_id", |p| keyed_by(p, "/labels/session_id")),
    ("cluster c0 asks for balancer.metadata_path /UDP/src_port", |p| keyed_by(p, "/UDP/src_port")),
    // B30: objects of the proxy's own configuration.
    ("cluster c0 asks for the proxy's own cluster meter", |p| {
        p.clusters[0] = plan::Cluster {
            name: "c0".into(),
            elsewhere: Some(plan::cluster::Elsewhere::ProxysOwn("meter".into())),
            ..Default::default()
        };
    }),
    // B33: bind and track.
    ("cluster c0 asks for socket.bind", |p| peer(p).bind = Some(plan::Address::default())),
    ("options.track_ms", |p| p.listeners[0].options.as_mut().unwrap().track_ms = 1000),
];

#[test]
fn every_field_that_an_envoy_can_not_express_is_refused_by_its_name() {
    for (field, bend) in REFUSED {
        let mut plan = mk_mesh(plan::Protocol::Udp, &[Value::Null]);
        bend(&mut plan);
        let done = done(&plan);
        let [remark] = done.remarks.as_slice() else { panic!("{field}: {:?}", done.remarks) };
        assert!(done.outputs.is_empty(), "{field}");
        assert!(remark.text.contains(field) && remark.text.contains("an Envoy"), "{field}: {}", remark.text);
    }
}

/// B22: a rule for a list in the proxy's own configuration.
#[test]
fn rule_for_a_list_is_refused() {
    let mut plan = mk_mesh(plan::Protocol::Udp, &[]);
    plan.listeners.clear();
    plan.rule_lists.push(plan::RuleList { list: "calls".into(), ..Default::default() });
    let done = done(&plan);
    assert!(done.outputs.is_empty());
    assert!(done.remarks[0].text.contains("an Envoy has no rule lists"), "{:?}", done.remarks);
}

#[test]
fn rules_that_need_two_ways_of_choosing_an_endpoint_are_refused_for_datagrams_only() {
    for (protocol, served) in [(plan::Protocol::Udp, false), (plan::Protocol::Tcp, true)] {
        let mut plan = mk_mesh(protocol, &[from("10.0.0.7"), Value::Null]);
        plan.clusters[0].balancer =
            Some(plan::Balancer { policy: Some(Policy::MetadataPath("/IP/src_addr".into())) });
        let done = done(&plan);
        assert_eq!(done.remarks.is_empty(), served, "{:?}", done.remarks);
        let told = |text: &str| text.contains("its clusters c0 and c1 choose endpoints differently");
        assert!(served || told(&done.remarks[0].text), "{:?}", done.remarks);
    }
}
