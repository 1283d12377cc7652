//! Proxies are added and removed with pods and NodeProxies, and take the Plans that apply to them.

use portreeve_agent_core::world::Tenant;
use portreeve_api::model::{Requirement, Selector};

use super::*;

#[test]
fn pods_proxy_is_made_when_it_connects_and_goes_with_the_pod() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.9")));
    assert!(rig.world.open_envoy(&pod_id("p")).is_none(), "no such pod");
    rig.world.apply_pod(mk_pod("p", "gw"));
    assert!(!rig.world.envoys().contains_key(&pod_id("p")), "it may have no proxy at all");
    let view = rig.world.open_envoy(&pod_id("p")).unwrap();
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/call/l"]);
    let watch = Watch::new(view, Variant::Delta, None);
    rig.world.delete_pod(&"p".into());
    assert_eq!(watch.closed().as_deref(), Some("the pod is gone"));
    assert!(rig.world.open_envoy(&pod_id("p")).is_none());
}

#[test]
fn second_stream_of_a_proxy_gets_the_same_view() {
    let mut rig = Rig::new();
    rig.world.apply_pod(mk_pod("p", "gw"));
    let (first, second) =
        (rig.world.open_envoy(&pod_id("p")).unwrap(), rig.world.open_envoy(&pod_id("p")).unwrap());
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn finished_pod_has_no_proxy() {
    let mut rig = Rig::new();
    rig.world.apply_pod(mk_pod("p", "gw"));
    rig.world.open_envoy(&pod_id("p")).unwrap();
    rig.world.apply_pod(Pod { finished: true, ..mk_pod("p", "gw") });
    assert!(rig.world.open_envoy(&pod_id("p")).is_none());
}

#[test]
fn reset_of_pods_ends_the_proxies_of_those_that_vanished() {
    let mut rig = Rig::new();
    for uid in ["stays", "vanishes"] {
        rig.world.apply_pod(mk_pod(uid, "gw"));
        rig.world.open_envoy(&pod_id(uid)).unwrap();
    }
    rig.world.reset_pods(vec![mk_pod("stays", "gw")]);
    let proxies: Vec<_> = rig.world.envoys().keys().cloned().collect();
    assert_eq!(proxies, [gateway(), pod_id("stays")]);
}

#[test]
fn pods_label_moves_plans_and_leaves_the_stream_alone() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.9")));
    let other = plan::Plan {
        workload: Some(mk_workload("app", "other")),
        ..mk_plan("other", 1, 2001, ip("10.0.0.9"))
    };
    rig.put_plan(&other);
    rig.world.apply_pod(mk_pod("p", "gw"));
    let view = rig.world.open_envoy(&pod_id("p")).unwrap();
    rig.world.apply_pod(mk_pod("p", "other"));
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/other/l"]);
    assert!(Arc::ptr_eq(&view, &rig.world.open_envoy(&pod_id("p")).unwrap()));
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
}

#[test]
fn node_proxy_is_told_of_and_goes_when_the_hub_takes_it_away() {
    let mut rig = Rig::new();
    let effects = rig.put(PlanType::NodeProxy, "second", &mk_node_proxy("gw"));
    assert_eq!(effects, Effects { proxies: true, ..Effects::default() });
    let view = rig.world.open_envoy(&ProxyId::Node("second".into())).unwrap();
    let watch = Watch::new(view, Variant::Delta, None);
    assert!(rig.remove(PlanType::NodeProxy, "second").proxies);
    assert_eq!(watch.closed().as_deref(), Some("the NodeProxy is gone"));
    assert!(rig.world.open_envoy(&ProxyId::Node("second".into())).is_none());
    assert_eq!(rig.world.node_proxies().len(), 1);
}

#[test]
fn static_pod_is_its_oldest_mirror_and_never_another_pod() {
    let mut rig = Rig::new();
    let mirror = |uid: &str, created_ms, of: &str| Pod {
        created_ms,
        static_uid: Some(of.into()),
        ..mk_pod(uid, "gw")
    };
    assert_eq!(rig.world.mirror_of("hash"), None);
    rig.world.apply_pod(mirror("young", 20, "hash"));
    rig.world.apply_pod(mirror("old", 10, "hash"));
    assert_eq!(rig.world.mirror_of("hash").as_deref(), Some("old"));
    rig.world.delete_pod(&"old".into());
    assert_eq!(rig.world.mirror_of("hash").as_deref(), Some("young"));
    rig.world.apply_pod(mk_pod("victim", "gw"));
    rig.world.apply_pod(mirror("thief", 1, "victim"));
    assert_eq!(rig.world.mirror_of("victim"), None, "that pod is there");
    assert_eq!((rig.world.mirror_of("young"), rig.world.mirror_of("")), (None, None));
}

fn mk_gateway(uid: &str, created_ms: i64, terminating_ms: i64) -> Pod {
    let (node_proxy, service_account) = (Some("gw".to_owned()), "gateway".to_owned());
    Pod { created_ms, terminating_ms, node_proxy, service_account, ..mk_pod(uid, "gw") }
}

#[test]
fn pods_of_one_account_embody_the_node_proxy_that_they_name_and_the_youngest_that_stays_leads() {
    let mut rig = Rig::new();
    rig.world.apply_pod(mk_gateway("old", 1, 0));
    assert_eq!(rig.world.embodied_by("old"), None, "nobody said whose pods do");
    rig.world = std::mem::replace(&mut rig.world, World::new(registry::fleets(), Families::V4))
        .with_gateways("ns/gateway".parse().ok());
    rig.world.apply_pod(mk_gateway("old", 1, 0));
    rig.world.apply_pod(Pod { service_account: "other".into(), ..mk_gateway("thief", 9, 0) });
    rig.world.apply_pod(Pod { namespace: "far".into(), ..mk_gateway("far", 9, 0) });
    rig.world.apply_pod(mk_pod("plain", "gw"));
    let embodied = ["old", "thief", "far", "plain"].map(|uid| rig.world.embodied_by(uid).is_some());
    assert_eq!(embodied, [true, false, false, false]);
    let leader = |rig: &Rig| rig.world.leaders().remove("gw");
    assert_eq!(leader(&rig).as_deref(), Some("old"));
    rig.world.apply_pod(mk_gateway("young", 2, 0));
    assert_eq!(leader(&rig).as_deref(), Some("young"));
    rig.world.apply_pod(mk_gateway("young", 2, 5));
    assert_eq!(leader(&rig).as_deref(), Some("old"), "the rollout was taken back");
    rig.world.apply_pod(mk_gateway("old", 1, 5));
    assert_eq!(leader(&rig).as_deref(), Some("young"), "both end");
}

#[test]
fn pods_on_the_hosts_network_are_gateways_proxies_or_neither_and_others_are_apart() {
    let mut rig = Rig::new();
    rig.world = std::mem::replace(&mut rig.world, World::new(registry::fleets(), Families::V4))
        .with_gateways("ns/gateway".parse().ok());
    let on_host = |pod| Pod { host_network: true, ..pod };
    rig.world.apply_pod(on_host(mk_gateway("gateway", 1, 0)));
    rig.world.apply_pod(on_host(Pod { finished: true, ..mk_gateway("over", 1, 0) }));
    rig.world.apply_pod(mk_gateway("far", 1, 0));
    for uid in ["sidecar", "plain"] {
        rig.world.apply_pod(on_host(mk_pod(uid, "gw")));
    }
    rig.world.apply_pod(mk_pod("apart", "gw"));
    rig.world.open_envoy(&pod_id("sidecar")).unwrap();
    let gateways = rig.world.gateways_on_host();
    assert_eq!(gateways.iter().map(|uid| &**uid).collect::<Vec<_>>(), ["gateway"]);
    let tenants = ["gateway", "sidecar", "plain", "apart", "new"].map(|uid| rig.world.tenant(uid));
    assert_eq!(tenants, [Tenant::Gateway, Tenant::Proxy, Tenant::Other, Tenant::Apart, Tenant::Unknown]);
}

#[test]
fn pod_takes_the_plans_of_its_namespace_and_those_that_look_everywhere() {
    let mut rig = Rig::new();
    rig.world.apply_pod(Pod { namespace: "far".into(), ..mk_pod("p", "gw") });
    rig.put_plan(&mk_plan("near", 1, 2000, ip("10.0.0.9")));
    let mut everywhere = mk_plan("everywhere", 1, 2001, ip("10.0.0.9"));
    everywhere.workload.as_mut().unwrap().namespace.clear();
    rig.put_plan(&everywhere);
    assert_eq!(rig.listeners(&pod_id("p")), ["A/ns/everywhere/l"]);
}

#[test]
fn node_proxy_takes_the_objects_of_allowed_namespaces_wherever_they_look() {
    let named = |values: &[&str]| plan::Selector {
        labels: vec![(&Requirement::is_in("kubernetes.io/metadata.name", values.iter().copied())).into()],
        ..Default::default()
    };
    let closed = plan::NodeProxy { all_namespaces: false, ..mk_node_proxy("gw") };
    let listed = |names: &[&str]| plan::NodeProxy {
        allowed_namespaces: names.iter().map(|name| (*name).to_owned()).collect(),
        ..closed.clone()
    };
    let cases = [
        (mk_node_proxy("gw"), 2),
        (listed(&["ns"]), 2),
        (listed(&["other"]), 0),
        (plan::NodeProxy { namespace_selector: Some(named(&["ns"])), ..closed.clone() }, 2),
        (plan::NodeProxy { namespace_selector: Some(named(&["other"])), ..closed.clone() }, 0),
        (closed, 0),
    ];
    for (at, (proxy, expected)) in cases.into_iter().enumerate() {
        let mut rig = Rig::new();
        rig.put_plan(&mk_plan("near", 1, 2000, ip("10.0.0.9")));
        let mut everywhere = mk_plan("everywhere", 1, 2001, ip("10.0.0.9"));
        everywhere.workload.as_mut().unwrap().namespace.clear();
        rig.put_plan(&everywhere);
        rig.put(PlanType::NodeProxy, "gw", &proxy);
        assert_eq!(rig.listeners(&gateway()).len(), expected, "case {at}");
    }
}

#[test]
fn plan_that_asks_for_what_is_not_known_here_is_taken_by_nobody() {
    let field = (&Requirement::is_in("spec.nodeName", ["n"])).into();
    let bend: [fn(&mut plan::Workload, &plan::Requirement); 5] = [
        |w, _| w.node_name = "n".into(),
        |w, _| w.service_group = "g".into(),
        |w, _| w.set_proxy_kind(plan::ProxyKind::L7mp),
        |w, field| w.selector.as_mut().unwrap().fields.push(field.clone()),
        |w, _| w.selector = None,
    ];
    for (at, bend) in bend.into_iter().enumerate() {
        let mut rig = Rig::new();
        let mut plan = mk_plan("call", 1, 2000, ip("10.0.0.9"));
        bend(plan.workload.as_mut().unwrap(), &field);
        rig.put_plan(&plan);
        assert!(rig.listeners(&gateway()).is_empty(), "case {at}");
    }
}

#[test]
fn pods_addresses_decide_what_its_listeners_bind() {
    let cases: [(&[&str], Families); 5] = [
        (&["10.0.0.1"], Families::V4),
        (&["fd00::1"], Families::V6),
        (&["10.0.0.1", "fd00::1"], Families::Dual),
        (&["fd00::1", "10.0.0.1"], Families::DualV6First),
        (&[], Families::V4),
    ];
    for (ips, expected) in cases {
        let pod = Pod { ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(), ..mk_pod("p", "gw") };
        assert_eq!(
            Facts::of_pod(ProxyKind::Envoy, &pod, Families::V4, Announced::default()).families,
            expected,
            "{ips:?}"
        );
        let on_host = Facts::of_pod(
            ProxyKind::Envoy,
            &Pod { host_network: true, ..pod },
            Families::Dual,
            Announced::default(),
        );
        assert_eq!((on_host.families, &*on_host.netns), (Families::Dual, "host"));
    }
}

#[test]
fn proxy_is_found_by_the_labels_and_the_fields_of_its_pod() {
    let node = portreeve_api::pod::field_attribute("spec.nodeName");
    let pod = Pod { extra: [(node.clone(), "n".to_owned())].into(), ..mk_pod("p", "gw") };
    let facts = Facts::of_pod(ProxyKind::Envoy, &pod, Families::V4, Announced::default());
    let selects = |key: &str, value: &str| {
        Selector { labels: vec![Requirement::is_in(key, [value])], fields: Vec::new() }.matches(&facts.labels)
    };
    assert!(selects("app", "gw") && selects(&node, "n"));
    assert!(!selects("app", "n") && !selects(&node, "m"));
}
