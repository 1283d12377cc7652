//! Parsing and validation of objects, beyond the samples.

use std::collections::BTreeMap;

use portreeve_api::a::virtual_service::{Cluster, VirtualService};
use portreeve_api::own::node_proxy::{AllowedNamespaces, NodeProxy};
use portreeve_api::own::node_report::{self, Conflict, NodeReport, NodeReportStatus, Phase, ProxyReport};
use serde_json::{Value, json};

fn virtual_service() -> Value {
    json!({
        "apiVersion": "servicemesh.l7mp.io/v1", "kind": "VirtualService", "metadata": {"name": "call"},
        "spec": {"selector": {"app": "gw"}, "listeners": [{"name": "l", "udp": {"port": 2000, "cluster": {
            "name": "c", "service_discovery": "strictdns",
            "endpoints": [{"name": "e", "host": {"address": "10.0.0.1"}, "port": 1}]}}}]},
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut object = virtual_service();
    *object.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    object
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn unknown_fields_are_warned_of_with_their_path_and_kept_out() {
    let mut object = virtual_service();
    object["spec"]["listeners"][0]["udp"]["cluster"]["lb_policy"] = json!("maglev");
    object["spec"]["listeners"][0]["udp"]["cluster"]["endpoints"][0]["host"]["port"] = json!(1);
    object["extra"] = json!(true);
    let (parsed, mut warnings) = VirtualService::parse(object).unwrap();
    warnings.sort();
    let expected = [
        "extra: unknown field, ignored",
        "spec.listeners[0].udp.cluster.endpoints[0].host.port: unknown field, ignored",
        "spec.listeners[0].udp.cluster.lb_policy: unknown field, ignored",
    ];
    assert_eq!(warnings, expected);
    assert_eq!(parsed, VirtualService::parse(virtual_service()).unwrap().0);
}

#[test]
fn unreadable_fields_are_named() {
    let table = [
        (with("/apiVersion", json!("l7mp.io/v1")), "apiVersion"),
        (with("/kind", json!("Target")), "kind"),
        (with("/metadata", json!({})), "metadata.name"),
        (with("/metadata/name", json!("")), "metadata.name"),
        (with("/spec", json!(null)), "spec"),
        (with("/spec/selector", json!({"app": 1})), "spec.selector.app"),
        (with("/spec/listeners", json!({})), "spec.listeners"),
        (with("/spec/listeners/0/udp", json!({"port": 1})), "spec.listeners[0].udp.cluster"),
        (with("/spec/listeners/0/udp/port", json!(4_294_967_296_i64)), "spec.listeners[0].udp.port"),
        (with("/spec/listeners/0/udp/port", json!(1.5)), "spec.listeners[0].udp.port"),
        (json!({}), "apiVersion"),
        (json!("text"), "apiVersion"),
    ];
    for (object, path) in table {
        let error = VirtualService::parse(object.clone()).unwrap_err();
        assert_eq!(error.path, path, "{error} for {object}");
    }
}

#[test]
fn an_unset_spec_of_a_node_proxy_gives_the_documented_defaults() {
    let object = json!({"apiVersion": "portreeve.dev/v1alpha1", "kind": "NodeProxy", "metadata": {"name": "gw"}, "spec": {}});
    let (proxy, warnings) = NodeProxy::parse(object).unwrap();
    assert_eq!((proxy.spec.envoy.concurrency, proxy.spec.envoy.health_listener), (1, None));
    assert!(proxy.spec.allowed_namespaces.allows("any", &BTreeMap::new()));
    assert_eq!((proxy.validate(), warnings), (vec![], vec![]));
}

#[test]
fn a_node_proxy_serves_the_namespaces_that_it_allows() {
    let media = json!({"matchLabels": {"team": "media"}, "matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["test"]}]});
    let broken = json!({"matchExpressions": [{"key": "env", "operator": "Near"}]});
    let table = [
        (json!({}), "ns", labels(&[]), true),
        (json!({"from": "List", "names": ["a", "b"]}), "b", labels(&[]), true),
        (json!({"from": "List", "names": ["a", "b"]}), "c", labels(&[]), false),
        (json!({"from": "Selector", "selector": media}), "ns", labels(&[("team", "media")]), true),
        (
            json!({"from": "Selector", "selector": media}),
            "ns",
            labels(&[("team", "media"), ("env", "test")]),
            false,
        ),
        (json!({"from": "Selector", "selector": {}}), "ns", labels(&[]), true),
        (json!({"from": "Selector", "selector": broken}), "ns", labels(&[("env", "test")]), false),
        (json!({"from": "Selector"}), "ns", labels(&[]), false),
    ];
    for (allowed, namespace, labels, expected) in table {
        let parsed: AllowedNamespaces = serde_json::from_value(allowed.clone()).unwrap();
        assert_eq!(parsed.allows(namespace, &labels), expected, "{allowed} for {namespace} {labels:?}");
    }
}

#[test]
fn node_proxy_whose_selector_no_label_can_meet_is_refused_with_its_field() {
    for (expression, wrong) in [
        (json!({"key": "a b", "operator": "NotIn", "values": ["x"]}), "\"a b\" is not a valid label key"),
        (json!({"key": "a b", "operator": "DoesNotExist"}), "\"a b\" is not a valid label key"),
        (
            json!({"key": "a", "operator": "NotIn", "values": ["x y"]}),
            "\"x y\" is not a valid value of label",
        ),
        (json!({"key": "a", "operator": "Near"}), "Near"),
        (json!({"key": "a", "operator": "NotIn", "values": ["x"]}), ""),
    ] {
        let allowed = json!({"from": "Selector", "selector": {"matchExpressions": [expression]}});
        let object = json!({"apiVersion": "portreeve.dev/v1alpha1", "kind": "NodeProxy", "metadata": {"name": "gw"},
            "spec": {"allowedNamespaces": allowed}});
        let found: Vec<String> =
            NodeProxy::parse(object).unwrap().0.validate().iter().map(ToString::to_string).collect();
        let is_wrong =
            |one: &String| one.starts_with("spec.allowedNamespaces.selector: ") && one.contains(wrong);
        match wrong {
            "" => assert!(found.is_empty(), "{found:?}"),
            _ => assert!(matches!(found.as_slice(), [one] if is_wrong(one)), "{expression}: {found:?}"),
        }
    }
}

#[test]
fn an_empty_key_is_none() {
    let key = |key: Option<&str>| Cluster { hash_key: key.map(str::to_owned), ..Cluster::default() };
    assert_eq!(key(Some("call")).key(), Some("call"));
    assert_eq!(key(Some("")).key(), None);
    assert_eq!(key(None).key(), None);
}

#[test]
fn a_phase_of_a_newer_agent_reads_as_unknown() {
    let read = |phase: &str| serde_json::from_value::<Phase>(json!(phase)).unwrap();
    assert_eq!(read("Running"), Phase::Running);
    assert_eq!(read("Hibernating"), Phase::Unknown);
}

#[test]
fn the_largest_report_stays_under_64_kb() {
    let text = "x".repeat(2_000);
    let proxy = ProxyReport {
        name: text.clone(),
        last_exit: Some(text.clone()),
        nack: Some(text.clone()),
        acked_versions: (0..100).map(|ty| (format!("{ty}{text}"), text.clone())).collect(),
        ..ProxyReport::default()
    };
    let conflict =
        Conflict { object: text.clone(), listener: text.clone(), winner: text, ..Conflict::default() };
    let status = NodeReportStatus {
        proxies: vec![proxy; 200],
        conflicts: vec![conflict; 1000],
        ..NodeReportStatus::default()
    };
    let bounded = status.bounded();
    let size = serde_json::to_vec(&bounded).unwrap().len();
    assert!(size <= node_report::MAX_BYTES, "{size} bytes");
    assert!(!bounded.proxies.is_empty());
    assert_eq!(bounded.clone().bounded(), bounded);
}

#[test]
fn a_report_within_its_bounds_is_left_alone() {
    let status = NodeReportStatus {
        agent_version: "0.1.0".into(),
        proxies: vec![ProxyReport { name: "gw".into(), phase: Phase::Running, ..ProxyReport::default() }],
        conflicts: vec![Conflict { port: 2000, ..Conflict::default() }],
        ..NodeReportStatus::default()
    };
    assert_eq!(status.clone().bounded(), status);
}

#[test]
fn a_report_has_no_spec_on_the_wire() {
    let mut report = NodeReport::new("node-a", node_report::NodeReportSpec {});
    report.status = Some(NodeReportStatus { agent_version: "0.1.0".into(), ..NodeReportStatus::default() });
    let expected = json!({
        "apiVersion": "portreeve.dev/v1alpha1", "kind": "NodeReport", "metadata": {"name": "node-a"},
        "status": {"agentVersion": "0.1.0"},
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    assert_eq!(NodeReport::parse(expected).unwrap(), (report, vec![]));
}

#[test]
fn lists_and_labels_beyond_their_limits_are_violations() {
    let many =
        |count: usize| (0..count).map(|i| (format!("k{i}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    let listener = virtual_service()["spec"]["listeners"][0].clone();
    let named = |i: usize| {
        let mut listener = listener.clone();
        listener["name"] = json!(format!("l{i}"));
        listener
    };
    let endpoint = listener["udp"]["cluster"]["endpoints"][0].clone();
    let table = [
        ("/spec/selector", Value::from(many(64)), Value::from(many(65)), "spec.selector"),
        (
            "/spec/listeners",
            (0..1024).map(named).collect(),
            (0..1025).map(named).collect::<Value>(),
            "spec.listeners",
        ),
        (
            "/spec/listeners/0/udp/cluster/endpoints",
            vec![endpoint.clone(); 256].into(),
            vec![endpoint; 257].into(),
            "spec.listeners[0].udp.cluster.endpoints",
        ),
    ];
    for (pointer, fits, exceeds, path) in table {
        let judge = |value: Value| VirtualService::parse(with(pointer, value)).unwrap().0.validate();
        assert_eq!(judge(fits), vec![], "{pointer}");
        let found: Vec<_> = judge(exceeds).into_iter().map(|violation| violation.path).collect();
        assert_eq!(found, [path], "{pointer}");
    }
}

#[test]
fn names_that_proxies_can_not_hold_are_refused_in_new_objects_and_taken_in_stored_ones() {
    let names = ["/spec/listeners/0/name", "/spec/listeners/0/udp/cluster/name"];
    for pointer in names {
        let judge = |name: &str| {
            let object = VirtualService::parse(with(pointer, json!(name))).unwrap().0;
            (object.validate(), object.validate_stored())
        };
        for plain in ["a", "web:80", "a@b#1+2=3", "rtp/rtcp"] {
            assert_eq!(judge(plain), (vec![], vec![]), "{plain}");
        }
        for odd in ["a, b", "a\nb", "é", "100%", "\u{1b}[31m", "\"", "'", "`", "\\", " "] {
            let (new, stored) = judge(odd);
            assert_eq!(new.len(), 1, "{odd:?}");
            assert!(new[0].path.ends_with(".name") && new[0].message.contains("holds"), "{}", new[0]);
            assert_eq!(stored, vec![], "{odd:?}");
        }
        assert_eq!(judge("").1.len(), 1, "no rule but that of the characters is loosened");
    }
}

#[test]
fn names_of_objects_are_those_that_an_api_server_takes() {
    let read = |pointer, name: &str| VirtualService::parse(with(pointer, json!(name)));
    let long = "x".repeat(254);
    for good in ["a", "a.b-c", "0", &long[1..]] {
        assert!(read("/metadata/name", good).is_ok(), "{good}");
    }
    for bad in ["A", "a_b", "a b", "a/b", "a,b", "-a", "a-", "a..b", ".a", "é", "a\nb", &long] {
        let error = read("/metadata/name", bad).unwrap_err();
        assert_eq!(error.path, "metadata.name", "{error}");
    }
    let in_namespace = |namespace: &str| {
        let (mut object, _) = VirtualService::parse(with("/metadata/name", json!("call"))).unwrap();
        object.metadata.namespace = Some(namespace.into());
        let mut value = serde_json::to_value(&object).unwrap();
        value["apiVersion"] = "servicemesh.l7mp.io/v1".into();
        value["kind"] = "VirtualService".into();
        VirtualService::parse(value).map(|(object, _)| object.metadata.namespace)
    };
    assert_eq!(in_namespace("media-1"), Ok(Some("media-1".into())));
    assert_eq!(in_namespace(""), Ok(None));
    for bad in ["A", "a.b", "a/b", "-a", &long[..64]] {
        assert_eq!(in_namespace(bad).unwrap_err().path, "metadata.namespace", "{bad}");
    }
}

#[test]
fn a_violation_reads_as_path_and_reason() {
    let (object, _) = VirtualService::parse(with("/spec/listeners/0/udp/port", json!(0))).unwrap();
    let shown: Vec<_> = object.validate().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["spec.listeners[0].udp.port: must be from 1 to 65535, is 0"]);
}
