//! A table over good and bad objects, and what becomes of the good ones.

use std::num::NonZeroU32;

use portreeve_api::plan;
use portreeve_xds::Name;
use serde_json::{Value, json};

use super::*;

fn read(spec: Value) -> VirtualService {
    let meta =
        json!({"name": "call", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"});
    VirtualService::parse(json!({
        "apiVersion": "servicemesh.l7mp.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec,
    }))
    .unwrap()
    .0
}

fn resolved(listeners: Value) -> Resolved {
    resolve(&read(json!({"selector": {"app": "gw"}, "listeners": listeners})), SelectorScope::Namespace)
        .unwrap()
}

fn endpoint(host: Value) -> Value {
    json!({"name": "e", "host": host, "port": 9})
}

fn worker() -> Value {
    endpoint(json!({"selector": {"app": "w"}}))
}

fn cluster(name: &str, endpoints: Value) -> Value {
    json!({"name": name, "service_discovery": "strictdns", "endpoints": endpoints})
}

fn udp(name: &str, port: i32, cluster: Value) -> Value {
    json!({"name": name, "udp": {"port": port, "cluster": cluster}})
}

/// One listener with one cluster; `change` bends the whole spec.
fn spec(change: impl FnOnce(&mut Value)) -> Value {
    let listeners = json!([udp("l", 2000, cluster("c", json!([worker()])))]);
    let mut spec = json!({"selector": {"app": "gw"}, "listeners": listeners});
    change(&mut spec);
    spec
}

/// Puts a value at a path inside of the first listener.
fn put<'a>(path: &'a str, value: Value) -> impl FnOnce(&mut Value) + 'a {
    move |spec| {
        let mut at = &mut spec["listeners"][0];
        for step in path.split('.') {
            at = match step.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[step],
            };
        }
        *at = value;
    }
}

#[test]
fn bad_objects_are_rejected_with_the_field_and_good_ones_are_not() {
    const E: &str = "udp.cluster.endpoints.0";
    let host = |address: &str| json!({"address": address});
    let cases: Vec<(&str, Value, Option<&str>)> = vec![
        ("plain", spec(|_| {}), None),
        ("no labels", spec(|s| s["selector"] = json!({})), Some("spec.selector")),
        ("no listeners", spec(|s| s["listeners"] = json!([])), Some("spec.listeners")),
        ("port 0", spec(put("udp.port", json!(0))), Some("spec.listeners[0].udp.port")),
        ("port 65535", spec(put("udp.port", json!(65_535))), None),
        ("port 65536", spec(put("udp.port", json!(65_536))), Some("spec.listeners[0].udp.port")),
        ("upstream port -1", spec(put(&format!("{E}.port"), json!(-1))), Some("endpoints[0].port")),
        ("both", spec(put("tcp", json!({"port": 1}))), Some("exactly one of udp and tcp")),
        ("neither", spec(put("udp", Value::Null)), Some("exactly one of udp and tcp")),
        (
            "host of nothing",
            spec(put(&format!("{E}.host"), json!({}))),
            Some("exactly one of address and selector"),
        ),
        ("name", spec(put(&format!("{E}.host"), host("tcp-echo.default.svc"))), None),
        ("absolute name", spec(put(&format!("{E}.host"), host("tcp-echo.default.svc."))), None),
        ("host:port", spec(put(&format!("{E}.host"), host("echo:80"))), Some("echo:80")),
        ("half an address", spec(put(&format!("{E}.host"), host("fd00:::1"))), Some("fd00:::1")),
        ("empty label", spec(put(&format!("{E}.host"), host("a..b"))), Some("a..b")),
        (
            "interval 50",
            spec(put("udp.cluster.health_check", json!({"interval": 50, "protocol": "TCP"}))),
            Some("interval"),
        ),
        (
            "twice",
            spec(|s| s["listeners"] = json!([s["listeners"][0], s["listeners"][0]])),
            Some("used twice"),
        ),
    ];
    for (what, spec, fault) in cases {
        let outcome = resolve(&read(spec), SelectorScope::Namespace);
        match (outcome, fault) {
            (Ok(_), None) => {}
            (Err(rejection), Some(fault)) => {
                assert_eq!(rejection.reason, Reason::Invalid, "{what}");
                assert!(rejection.message.contains(fault), "{what}: {}", rejection.message);
            }
            (outcome, _) => panic!("{what}: {outcome:?}"),
        }
    }
}

#[test]
fn every_fault_of_an_object_is_told_at_once() {
    let mut object = read(spec(|_| {}));
    object.spec.listeners[0].udp.as_mut().unwrap().port = 0;
    object.spec.listeners[0].udp.as_mut().unwrap().cluster.endpoints[0].port = 0;
    let message = resolve(&object, SelectorScope::Namespace).unwrap_err().message;
    assert!(message.contains("udp.port") && message.contains("endpoints[0].port"), "{message}");
}

#[test]
fn key_is_kept_and_a_missing_or_empty_one_means_the_senders_address() {
    let cases = [
        (Some("call-1"), Balancer::Key("call-1".into())),
        (Some(""), Balancer::SourceAddress),
        (None, Balancer::SourceAddress),
    ];
    for (key, expected) in cases {
        let mut c = cluster("c", json!([worker()]));
        key.into_iter().for_each(|key| c["hash_key"] = key.into());
        let plan = resolved(json!([udp("l", 1, c)])).plan;
        assert_eq!(plan.clusters[0].balancer, Some(expected), "{key:?}");
    }
}

#[test]
fn strictdns_and_eds_are_served_alike() {
    let plans = ["strictdns", "eds"].map(|discovery| {
        let mut c = cluster("c", json!([worker(), endpoint(json!({"address": "echo.default"}))]));
        c["service_discovery"] = discovery.into();
        resolved(json!([udp("l", 1, c)])).plan
    });
    assert_eq!(plans[0], plans[1]);
}

#[test]
fn addresses_are_told_from_names_and_written_in_one_form() {
    use From::{Host, Ip};
    use plan::endpoint_source::From;
    let cases = [
        ("10.0.0.1", Ip("10.0.0.1".into())),
        ("127.0.0.1", Ip("127.0.0.1".into())),
        ("FD00:0:0:0:0:0:0:0001", Ip("fd00::1".into())),
        ("2001:db8:0:0:1:0:0:1", Ip("2001:db8::1:0:0:1".into())),
        ("2001:db8:0:1:1:1:1:1", Ip("2001:db8:0:1:1:1:1:1".into())),
        ("::", Ip("::".into())),
        ("::ffff:10.0.0.1", Ip("10.0.0.1".into())),
        ("Echo.Default.SVC", Host("echo.default.svc".into())),
        ("_sip._udp.example", Host("_sip._udp.example".into())),
    ];
    for (text, expected) in cases {
        let c = cluster("c", json!([endpoint(json!({"address": text}))]));
        let plan = resolved(json!([udp("l", 1, c)])).plan;
        let sent = plan::Plan::from(&plan);
        assert_eq!(sent.clusters[0].endpoints[0].from, Some(expected), "{text}");
        assert_eq!(plan.dns_namespace, "ns");
    }
}

#[test]
fn health_check_is_taken_with_the_seeds_figures_and_its_traps_are_told() {
    let mut checked = endpoint(json!({"selector": {"app": "w"}}));
    checked["health_check_port"] = 1233.into();
    let cases = [
        (500, true, vec![]),
        (100, true, vec![Reason::ShortInterval]),
        (499, false, vec![Reason::ShortInterval, Reason::NoHealthPort]),
        (1000, false, vec![Reason::NoHealthPort]),
    ];
    for (interval, with_port, expected) in cases {
        let mut c = cluster("c", json!([if with_port { checked.clone() } else { worker() }]));
        c["health_check"] = json!({"interval": interval, "protocol": "TCP"});
        let resolved = resolved(json!([udp("l", 1, c)]));
        let reasons: Vec<_> = resolved.warnings.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, expected, "{interval} ms");
        let check = resolved.plan.clusters[0].health_check.clone().unwrap();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!((check.interval, check.timeout), (ms(interval), ms(100)));
        let thresholds = [check.unhealthy_threshold, check.healthy_threshold];
        assert_eq!(thresholds, [NonZeroU32::new(1); 2]);
        let port = resolved.plan.clusters[0].endpoints[0].health_port;
        assert_eq!(port, NonZeroU16::new(1233).filter(|_| with_port));
    }
}

#[test]
fn without_a_health_check_nothing_is_checked_nor_warned_of() {
    let resolved = resolved(json!([udp("l", 1, cluster("c", json!([worker()])))]));
    assert_eq!((resolved.plan.clusters[0].health_check.clone(), resolved.warnings), (None, vec![]));
}

#[test]
fn http_check_keeps_its_path() {
    let mut c = cluster("c", json!([worker()]));
    c["health_check"] = json!({"interval": 500, "protocol": "TCP", "http": {"path": "/healthcheck"}});
    let plan = resolved(json!([udp("l", 1, c)])).plan;
    assert_eq!(plan.clusters[0].health_check.as_ref().unwrap().http_path.as_deref(), Some("/healthcheck"));
}

#[test]
fn tcp_listener_forwards_to_its_cluster() {
    let listener = json!({"name": "t", "tcp": {"port": 80, "cluster": cluster("c", json!([worker()]))}});
    let plan = resolved(json!([listener])).plan;
    let socket = plan.listeners[0].socket.as_ref().unwrap();
    assert_eq!((socket.protocol, socket.port), (Protocol::Tcp, NonZeroU16::new(80)));
    assert_eq!(plan.clusters[0].socket.as_ref().unwrap().protocol, Protocol::Tcp);
    assert_eq!(plan.listeners[0].rules[0].route.as_ref().unwrap().destination, "t/c");
}

#[test]
fn tcp_listener_without_a_cluster_is_left_out_and_harms_no_other() {
    let bare = json!({"name": "t", "tcp": {"port": 80}});
    let both = resolved(json!([bare, udp("l", 1, cluster("c", json!([worker()])))]));
    let names: Vec<_> = both.plan.listeners.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["l"]);
    assert_eq!(both.warnings[0].0, Reason::Unsupported);
    assert!(both.warnings[0].1.contains("listener t"));
    let alone = read(json!({"selector": {"app": "gw"}, "listeners": [bare]}));
    let rejected = resolve(&alone, SelectorScope::Namespace).unwrap_err().message;
    assert!(
        rejected.starts_with("spec.listeners: ") && rejected.contains("tcp has no cluster"),
        "{rejected}"
    );
}

fn destinations(plan: &Plan) -> Vec<&str> {
    plan.listeners.iter().map(|l| l.rules[0].route.as_ref().unwrap().destination.as_str()).collect()
}

/// The cluster that each listener forwards to, by the listener's name.
fn clusters_of(listeners: &[Value]) -> BTreeMap<String, model::Cluster> {
    let plan = resolved(json!(listeners)).plan;
    assert_eq!(plan.clusters.len(), listeners.len());
    let cluster = |name: &str| plan.clusters.iter().find(|c| c.name == name).unwrap().clone();
    let names = plan.listeners.iter().map(|l| l.name.clone());
    names.zip(destinations(&plan).into_iter().map(cluster)).collect()
}

#[test]
fn cluster_of_a_listener_is_the_same_whatever_listeners_are_beside_it() {
    let address = |i: i32| json!([endpoint(json!({"address": format!("10.0.0.{i}")}))]);
    let all = [
        udp("l1", 1, cluster("c", address(1))),
        udp("l2", 2, cluster("c", address(2))),
        udp("l3", 3, cluster("c", address(1))),
        udp("a", 4, cluster("l1/c", address(4))),
        udp("a/l1", 5, cluster("c", address(5))),
        udp("a%2Fl1", 6, cluster("c", address(6))),
    ];
    let together = clusters_of(&all);
    let names: std::collections::BTreeSet<_> = together.values().map(|c| &c.name).collect();
    assert_eq!(names.len(), all.len(), "{names:?}");
    assert_eq!(together["l1"].name, "l1/c");
    for first in 0..all.len() {
        for many in 1..all.len() {
            let some: Vec<_> = all.iter().cycle().skip(first).take(many).cloned().collect();
            for (listener, cluster) in clusters_of(&some) {
                assert_eq!(cluster, together[&listener]);
            }
        }
    }
}

#[test]
fn stored_object_with_an_odd_name_is_served_and_told_what_the_proxies_call_it() {
    let odd = |name: &str| resolved(json!([udp(name, 1, cluster("c, d", json!([worker()])))]));
    let resolved = odd("rtp, rtcp");
    assert_eq!(resolved.plan.listeners[0].name, "rtp, rtcp");
    let [(reason, text)] = resolved.warnings.as_slice() else { panic!("{:?}", resolved.warnings) };
    assert_eq!(*reason, Reason::EscapedName);
    assert!(text.contains("rtp, rtcp") && text.contains("rtp%2C%20rtcp"), "{text}");
    assert!(odd("rtp").warnings.is_empty(), "a cluster's name is told to nobody");
}

#[test]
fn group_names_are_canonical_and_hold_the_scope() {
    let labels = json!({"b": "2", "a": "x y"});
    let twice =
        json!([endpoint(json!({"selector": labels})), endpoint(json!({"selector": {"a": "x y", "b": "2"}}))]);
    let object = read(json!({"selector": {"app": "gw"}, "listeners": [udp("l", 1, cluster("c", twice))]}));
    for (scope, group, workload) in [
        (SelectorScope::Namespace, "ns/a=x%20y,b=2", "ns/app=gw"),
        (SelectorScope::Cluster, "*/a=x%20y,b=2", "*/app=gw"),
    ] {
        let resolved = resolve(&object, scope).unwrap();
        let groups: Vec<Name> = resolved.groups.iter().map(Selection::name).collect();
        assert_eq!((groups, &*resolved.workload.name()), (vec![group.into()], workload));
        let from = Source::Group(group.into());
        assert!(resolved.plan.clusters[0].endpoints.iter().all(|e| e.from == from));
        assert_eq!(resolved.plan.workload.namespace.is_none(), scope == SelectorScope::Cluster);
    }
}

#[test]
fn origin_says_whose_plan_it_is_and_generation_is_no_part_of_it() {
    let mut object = read(spec(|_| {}));
    let first = resolve(&object, SelectorScope::Namespace).unwrap().plan;
    let origin = first.origin.clone();
    assert_eq!((&*origin.api, &*origin.namespace, &*origin.name, &*origin.uid), ("A", "ns", "call", "u"));
    assert_eq!((origin.created_ms, &*origin.kind), (Some(1_767_225_600_000), "VirtualService"));
    object.metadata.generation = Some(7);
    object.metadata.resource_version = Some("1234".into());
    assert_eq!(resolve(&object, SelectorScope::Namespace).unwrap().plan, first);
}

#[test]
fn idle_timeout_is_passed_on() {
    let mut listener = udp("l", 1, cluster("c", json!([worker()])));
    listener["udp"]["idle_timeout"] = 1500.into();
    let plan = resolved(json!([listener])).plan;
    let options = plan.listeners[0].options.as_ref().unwrap();
    assert_eq!(options.idle_timeout, Some(Duration::from_millis(1500)));
}
