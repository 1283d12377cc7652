//! Unsupported fields of a Plan are rejected, field by field.

use portreeve_api::model::Requirement;

use super::*;

/// The field that the remark names, and a change that sets it in a Plan.
type Case = (&'static str, fn(&mut plan::Plan));

fn listener(plan: &mut plan::Plan) -> &mut plan::Listener {
    &mut plan.listeners[0]
}

fn socket(plan: &mut plan::Plan) -> &mut plan::Socket {
    plan.listeners[0].socket.as_mut().unwrap()
}

fn rule(plan: &mut plan::Plan) -> &mut plan::Rule {
    &mut plan.listeners[0].rules[0]
}

fn route(plan: &mut plan::Plan) -> &mut plan::Route {
    plan.listeners[0].rules[0].route.as_mut().unwrap()
}

fn cluster(plan: &mut plan::Plan) -> &mut plan::Cluster {
    &mut plan.clusters[0]
}

fn peer(plan: &mut plan::Plan) -> &mut plan::Socket {
    plan.clusters[0].socket.as_mut().unwrap()
}

fn source(plan: &mut plan::Plan) -> &mut plan::EndpointSource {
    &mut plan.clusters[0].endpoints[0]
}

fn policy(plan: &mut plan::Plan, policy: Option<Policy>) {
    plan.clusters[0].balancer = Some(plan::Balancer { policy });
}

fn setting() -> BTreeMap<String, String> {
    BTreeMap::from([("query".to_owned(), "q".to_owned())])
}

/// Returns the default message for a field that needs no value.
fn some<T: Default>() -> Option<T> {
    Some(T::default())
}

const ALL: &[Case] = &[
    ("plan-feature", |p| p.needs.push("plan-feature".into())),
    ("listener-feature", |p| listener(p).needs.push("listener-feature".into())),
    ("tls", |p| listener(p).tls = some()),
    ("sources", |p| listener(p).sources = some()),
    ("http", |p| listener(p).http = true),
    ("options.track_ms", |p| listener(p).options = Some(plan::Options { track_ms: 1, ..Default::default() })),
    ("socket.protocol JSONSocket", |p| socket(p).set_protocol(plan::Protocol::Jsonsocket)),
    ("socket.protocol 0", |p| socket(p).set_protocol(plan::Protocol::Unspecified)),
    ("socket.protocol 99", |p| socket(p).protocol = 99),
    ("socket.port 0", |p| socket(p).port = 0),
    ("socket.scope 99", |p| socket(p).scope = 99),
    ("socket.connect", |p| socket(p).connect = some()),
    ("socket.connect", |p| socket(p).connect = Some(plan::Address { ip: "10.0.0.1".into(), port: 7 })),
    ("socket.bind", |p| socket(p).bind = some()),
    ("socket.bind.port 7", |p| {
        socket(p).set_scope(plan::Scope::Address);
        socket(p).bind = Some(plan::Address { ip: "10.0.0.1".into(), port: 7 });
    }),
    ("socket.path", |p| socket(p).path = "/p".into()),
    ("socket.filename", |p| socket(p).filename = "/f".into()),
    ("socket.transport", |p| socket(p).transport = some()),
    ("socket.header", |p| socket(p).header.push(plan::HeaderField::default())),
    ("socket.settings", |p| socket(p).settings = setting()),
    ("socket.tunnel", |p| socket(p).tunnel = "t".into()),
    ("rules[0].match_json at path ", |p| rule(p).match_json = "{}".into()),
    ("rules[0].rewrites", |p| rule(p).rewrites.push(plan::Rewrite::default())),
    ("rules[0].apply", |p| rule(p).apply = "list".into()),
    ("rules[0].route.ingress", |p| route(p).ingress.push("c".into())),
    ("rules[0].route.egress", |p| route(p).egress.push("c".into())),
    ("rules[0].route.retry", |p| route(p).retry = some()),
    ("rules[0].route.retry on always", |p| {
        route(p).retry = Some(plan::Retry { on: "always".into(), ..Default::default() })
    }),
    ("rules[0] without a route before other rules", |p| {
        let route = rule(p).route.take();
        listener(p).rules.push(plan::Rule { route, ..Default::default() });
    }),
    ("cluster rtp-c asks for cluster-feature", |p| cluster(p).needs.push("cluster-feature".into())),
    ("cluster rtp-c asks for tls", |p| cluster(p).tls = some()),
    ("cluster rtp-c asks for http", |p| cluster(p).http = true),
    ("cluster rtp-c asks for socket.protocol 99", |p| peer(p).protocol = 99),
    ("cluster rtp-c is of another protocol", |p| peer(p).set_protocol(plan::Protocol::Tcp)),
    ("cluster rtp-c asks for socket.port", |p| peer(p).port = 8),
    ("cluster rtp-c asks for socket.scope", |p| peer(p).set_scope(plan::Scope::Loopback)),
    ("cluster rtp-c asks for socket.connect", |p| peer(p).connect = some()),
    ("cluster rtp-c asks for socket.bind", |p| peer(p).bind = some()),
    ("cluster rtp-c asks for socket.path", |p| peer(p).path = "/p".into()),
    ("cluster rtp-c asks for socket.filename", |p| peer(p).filename = "/f".into()),
    ("cluster rtp-c asks for socket.transport", |p| peer(p).transport = some()),
    ("cluster rtp-c asks for socket.header", |p| peer(p).header.push(plan::HeaderField::default())),
    ("cluster rtp-c asks for socket.settings", |p| peer(p).settings = setting()),
    ("cluster rtp-c asks for socket.tunnel", |p| peer(p).tunnel = "t".into()),
    ("cluster rtp-c asks for balancer.metadata_path /a", |p| {
        policy(p, Some(Policy::MetadataPath("/a".into())))
    }),
    ("cluster rtp-c asks for balancer,", |p| policy(p, None)),
    ("endpoints[e].from", |p| source(p).from = None),
    ("endpoints[e].filename", |p| source(p).from = Some(From::Filename("/f".into()))),
    ("endpoints[e].port 0", |p| source(p).port = 0),
    ("endpoints[e].source", |p| source(p).source = "other".into()),
];

/// A Plan with two listeners, of which the first is changed by `bend`.
fn mk_bent(bend: fn(&mut plan::Plan)) -> plan::Plan {
    let mut plan = mk_udp(key("k"), vec![(group(), 9)]);
    plan.clusters[0].endpoints[0].name = "e".into();
    bend(&mut plan);
    plan
}

#[test]
fn listener_that_asks_for_what_is_not_known_is_refused_by_the_fields_name() {
    for (field, bend) in ALL {
        let done = run(&mk_bent(*bend), Families::V4, &mk_fixture(mk_pods(1)));
        assert!(done.outputs.is_empty(), "{field}");
        let [remark] = done.remarks.as_slice() else { panic!("{field}: {:?}", done.remarks) };
        assert_eq!(remark.at, "rtp-l", "{field}");
        let named = remark.text.contains(field.trim_end_matches(','));
        let told = remark.text.contains("update the agent") || remark.text.contains("can't convert");
        assert!(named && told, "{field}: {}", remark.text);
    }
}

#[test]
fn listener_beside_a_refused_one_is_served() {
    for (field, bend) in ALL.iter().filter(|(field, _)| *field != "plan-feature") {
        let mut plan = mk_bent(*bend);
        add_pipe(&mut plan, "rtcp", (plan::Protocol::Udp, 2001), key("k"), vec![(group(), 9)]);
        let done = run(&plan, Families::V4, &mk_fixture(mk_pods(1)));
        let names: Vec<_> = done.outputs.iter().map(|(_, r)| r.name().to_string()).collect();
        assert_eq!(names, ["A/ns/call/rtcp-l", "A/ns/call/rtcp-c", "A/ns/call/rtcp-c"], "{field}");
    }
}

#[test]
fn all_that_one_listener_asks_for_is_told_at_once() {
    let plan = mk_bent(|plan| {
        listener(plan).tls = some();
        socket(plan).scope = 99;
    });
    let done = run(&plan, Families::V4, &mk_fixture(mk_pods(1)));
    let expected = format!(
        "the listener asks for tls, socket.scope 99, which the agent (version {}) can't give an Envoy: \
         update the agent, or take it out of the object",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(done.remarks[0].text, expected);
}

#[test]
fn what_changes_nothing_is_not_refused() {
    let harmless: [fn(&mut plan::Plan); 10] = [
        |p| listener(p).options = some(),
        |p| listener(p).options = Some(plan::Options { remove_orphan_sessions: true, ..Default::default() }),
        |p| peer(p).port = 9,
        |p| source(p).weight = 1,
        |p| rule(p).name = "r".into(),
        |p| cluster(p).socket = None,
        |p| cluster(p).balancer = None,
        |p| policy(p, Some(Policy::RoundRobin(true))),
        |p| cluster(p).health_check = some(),
        |p| source(p).health_port = 1233,
    ];
    for (at, bend) in harmless.into_iter().enumerate() {
        let done = run(&mk_bent(bend), Families::V4, &mk_fixture(mk_pods(1)));
        assert_eq!((done.outputs.len(), done.remarks), (3, vec![]), "{at}");
    }
}

#[test]
fn listener_on_an_address_that_the_proxy_can_not_have_is_refused() {
    let plan = mk_bent(|plan| {
        socket(plan).set_scope(plan::Scope::Address);
        socket(plan).bind = Some(plan::Address { ip: "fd00::1".into(), port: 0 });
    });
    let done = run(&plan, Families::V4, &mk_fixture(mk_pods(1)));
    assert_eq!(done.remarks[0].text, "socket.bind fd00::1: the proxy has no IPv6 address");
    assert!(done.outputs.is_empty());
    assert_eq!(run(&plan, Families::Dual, &mk_fixture(mk_pods(1))).outputs.len(), 3);
}

#[test]
fn rule_for_a_list_of_an_envoy_is_remarked_on_and_its_listeners_stand() {
    let plan = mk_bent(|plan| {
        plan.rule_lists.push(plan::RuleList { list: "calls".into(), ..Default::default() });
    });
    let done = run(&plan, Families::V4, &mk_fixture(mk_pods(1)));
    assert_eq!((done.outputs.len(), done.remarks[0].at.as_str()), (3, "rule list calls"));
}

#[test]
fn cluster_of_a_refused_listener_is_sent_only_where_the_proxy_runs_it() {
    let plan = mk_bent(|plan| listener(plan).tls = some());
    let outputs = |running: &[&str]| {
        let request = Request {
            plan: &read(&plan),
            families: Families::V4,
            streams: &Streams::Aggregated,
            denied: &BTreeSet::new(),
            running: &running.iter().map(ToString::to_string).collect(),
            defaults: Defaults::default(),
            called: &BTreeMap::new(),
        };
        translate(&request, &mk_fixture(mk_pods(1))).unwrap().outputs.len()
    };
    assert_eq!((outputs(&[]), outputs(&["rtp-l"])), (0, 2));
}

#[test]
fn workload_that_asks_for_what_is_not_known_is_told() {
    type Bend = fn(&mut plan::Workload);
    let cases: [(&str, Bend); 3] = [
        ("workload.node_name", |w| w.node_name = "n".into()),
        ("workload.service_group", |w| w.service_group = "ns/svc".into()),
        ("workload.selector.fields", |w| {
            let requirement = &Requirement::is_in("spec.nodeName", ["n"]);
            w.selector.get_or_insert_default().fields.push(requirement.into());
        }),
    ];
    for (field, bend) in cases {
        let mut plan = mk_plan();
        assert_eq!(
            portreeve_agent_core::translate::lacks::workload(&read(&plan)).told("its workload", "an Envoy"),
            None
        );
        bend(plan.workload.get_or_insert_default());
        let told = portreeve_agent_core::translate::lacks::workload(&read(&plan))
            .told("its workload", "an Envoy")
            .unwrap();
        assert!(told.starts_with(&format!("its workload asks for {field}, which")), "{told}");
    }
}
