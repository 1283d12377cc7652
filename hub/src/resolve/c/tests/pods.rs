//! What becomes of LoadBalancers whose proxies are pods of their own.

use portreeve_api::conditions::Reason;
use portreeve_api::model::{Plan, Scope};
use portreeve_api::plan;
use portreeve_api::refs::ObjectRef;
use serde_json::{Value, json};

use super::{NAMESPACE, World, c};
use crate::object::{Rejection, Resolved};

/// A group and a load balancer of it with these annotations.
fn mk_world(name: &str, of_group: Value, own: Value, ports: Value) -> World {
    let group = json!({"metadata": {"annotations": of_group}, "spec": {"can-be-shared": true}});
    let spec = json!({"public-address": "203.0.113.7", "public-ports": ports});
    let meta = json!({"labels": {"owning-servicegroup": "gold"}, "annotations": own});
    World::default().put(&c::service_group::KIND, (NAMESPACE, "gold"), group).put(
        &c::load_balancer::KIND,
        (NAMESPACE, name),
        json!({"metadata": meta, "spec": spec}),
    )
}

fn mk_web(of_group: &str, own: &str) -> World {
    let annotations = |value: &str| match value {
        "" => json!({}),
        value => json!({"portreeve.dev/embodiment": value}),
    };
    mk_world("web", annotations(of_group), annotations(own), json!([{"port": 80}]))
}

/// The scope of the only listener, and what selects the proxies.
fn opened(resolved: &Resolved) -> (Scope, String) {
    assert_eq!(Plan::try_from(plan::Plan::from(&resolved.plan)).as_ref(), Ok(&resolved.plan));
    let [listener] = resolved.plan.listeners.as_slice() else { panic!("{:?}", resolved.plan.listeners) };
    let socket = listener.socket.as_ref().unwrap();
    assert_eq!(socket.port.map(u16::from), Some(80));
    assert_eq!(socket.bind.is_some(), socket.scope == Scope::Floating);
    (socket.scope, resolved.workload.name().to_string())
}

fn refused(outcome: Result<Resolved, Rejection>, reason: Reason) -> String {
    let rejection = outcome.unwrap_err();
    assert_eq!(rejection.reason, reason, "{rejection}");
    rejection.message
}

#[test]
fn own_annotation_counts_before_the_groups_and_pods_listen_on_all_their_addresses() {
    let own = "epic-a/app=epic,loadbalancer_cr=web,role=proxy";
    let gateways = "epic-a/epic.acnodal.io/owning-servicegroup=gold";
    for (of_group, annotation, expected) in [
        ("", "", (Scope::Floating, gateways)),
        ("", "pod", (Scope::Wildcard, own)),
        ("pod", "", (Scope::Wildcard, own)),
        ("pod", "node", (Scope::Floating, gateways)),
        ("node", "pod", (Scope::Wildcard, own)),
        ("sidecar", "node", (Scope::Floating, gateways)),
    ] {
        let resolved = mk_web(of_group, annotation).resolve("web").unwrap();
        assert_eq!(resolved.missing, Vec::<String>::new());
        assert_eq!(opened(&resolved), (expected.0, expected.1.to_owned()), "{of_group} {annotation}");
        let bridge = (expected.0 == Scope::Wildcard).then_some("multus0");
        assert_eq!(resolved.plan.pod_bridge.as_deref(), bridge, "{of_group} {annotation}");
    }
}

#[test]
fn bridge_of_the_pods_is_that_of_the_prefix_which_the_load_balancer_or_its_group_names() {
    let mut world = mk_web("pod", "");
    for name in ["default", "blue"] {
        let pool = "203.0.113.0/24";
        let spec = json!({"subnet": pool, "pool": pool, "multus-bridge": format!("{name}0")});
        world = world.put(&c::service_prefix::KIND, ("epic", name), json!({"spec": spec}));
    }
    for (name, prefix) in [("own", "blue"), ("lost", "missing")] {
        let meta = json!({"labels": {"owning-servicegroup": "gold", "owning-serviceprefix": prefix}});
        let spec = json!({"public-address": "203.0.113.8", "public-ports": [{"port": 80}]});
        let value = json!({"metadata": meta, "spec": spec});
        world = world.put(&c::load_balancer::KIND, (NAMESPACE, name), value);
    }
    for (name, expected) in [("web", "default0"), ("own", "blue0"), ("lost", "multus0")] {
        let bridge = world.resolve(name).unwrap().plan.pod_bridge;
        assert_eq!(bridge.as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn unknown_embodiment_is_refused_with_the_known_ones() {
    let message = refused(mk_web("", "Pod").resolve("web"), Reason::Invalid);
    assert_eq!(message, "metadata.annotations[portreeve.dev/embodiment]: must be node or pod, is \"Pod\"");
    let message = refused(mk_web("sidecar", "").resolve("web"), Reason::Invalid);
    assert!(message.starts_with("group gold: ") && message.ends_with("is \"sidecar\""), "{message}");
}

#[test]
fn port_of_the_pods_health_checks_is_refused_over_tcp_alone() {
    let pod = json!({"portreeve.dev/embodiment": "pod"});
    let of = |protocol: &str, annotations: &Value| {
        let ports = json!([{"port": 1233, "protocol": protocol}]);
        mk_world("web", json!({}), annotations.clone(), ports).resolve("web")
    };
    assert!(refused(of("TCP", &pod), Reason::Unsupported).contains("1233"));
    assert!(of("UDP", &pod).is_ok() && of("TCP", &json!({})).is_ok());
}

#[test]
fn long_names_select_pods_by_a_label_that_fits() {
    let name = format!("{}.example", "a".repeat(200));
    let world = mk_world(&name, json!({"portreeve.dev/embodiment": "pod"}), json!({}), json!([{"port": 80}]));
    let selector = world.resolve(&name).unwrap().plan.workload.selector;
    let values: Vec<_> =
        selector.labels.iter().map(|requirement| format!("{:?}", requirement.test)).collect();
    let longest = values.iter().map(String::len).max().unwrap();
    assert!((30..=80).contains(&longest), "{values:?}");
}

#[test]
fn pods_that_can_not_be_created_are_a_warning_that_closes_nothing() {
    let mut world = mk_web("", "pod");
    let key = ObjectRef::namespaced(&c::load_balancer::KIND, NAMESPACE, "web");
    world.answers.set_unallocated(&key, Some("no pods are created".into()));
    let resolved = world.resolve("web").unwrap();
    assert_eq!(resolved.warnings, [(Reason::NotRunning, "no pods are created".to_owned())]);
    assert_eq!(resolved.missing, Vec::<String>::new());
}
