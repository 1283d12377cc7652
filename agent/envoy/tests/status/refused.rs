//! Statuses of listeners and Plans with fields that the agent does not support.

use super::*;

#[test]
fn refused_listener_is_told_with_its_field_and_what_to_do() {
    let mut rig = Rig::new();
    let mut plan = mk_plan("a", 2000, &["10.0.0.9"]);
    plan.listeners[0].tls = Some(plan::Tls::default());
    plan.listeners.push(plan::Listener { name: "second".into(), ..plan.listeners[0].clone() });
    plan.listeners[1].socket.as_mut().unwrap().port = 2001;
    rig.put_plan(&plan);
    rig.accept_all(&gateway("gw"));
    assert_eq!(rig.counts("a"), [1, 0, 1, 0, 0]);
    let told = rig.status("a").refusal.clone();
    assert!(
        told.starts_with("nodeproxy/gw, l: the listener asks for tls, which the agent (version "),
        "{told}"
    );
    assert!(told.contains("update the agent") && told.ends_with("(and 1 more)"), "{told}");
    let status = rig.status("a");
    assert_eq!((status.unsupported, status.unsupported_text), (1, told.clone()), "the proxy refused nothing");
    let report = rig.report(&BTreeMap::new());
    let unsupported = "UnsupportedByProxy";
    assert!(report.conditions.iter().any(|one| one.reason == unsupported), "{:?}", report.conditions);
}

#[test]
fn refused_cluster_is_told_by_its_name() {
    let mut rig = Rig::new();
    let mut plan = mk_plan("a", 2000, &["10.0.0.9"]);
    plan.clusters[0].tls = Some(plan::Tls::default());
    rig.put_plan(&plan);
    rig.accept_all(&gateway("gw"));
    let told = rig.status("a").refusal.clone();
    assert!(told.starts_with("nodeproxy/gw, l: its cluster c asks for tls, which "), "{told}");
}

#[test]
fn workload_that_is_not_known_is_told_for_each_proxy_that_it_may_mean() {
    let mut rig = Rig::new();
    let mut plan = mk_plan("a", 2000, &["10.0.0.9"]);
    plan.workload.as_mut().unwrap().node_name = "other".into();
    rig.put_plan(&plan);
    rig.accept_all(&gateway("gw"));
    assert_eq!(rig.counts("a"), [1, 0, 1, 0, 0]);
    let told = rig.status("a").refusal.clone();
    assert!(told.starts_with("nodeproxy/gw, its workload asks for workload.node_name, which "), "{told}");
    assert!(rig.world.fleet::<Envoy>().unwrap().proxies()[&gateway("gw")].plans.is_empty());
}

#[test]
fn plan_that_makes_no_sense_is_told_though_no_proxy_is_known_to_take_it() {
    let mut rig = Rig::new();
    let mut plan = mk_plan("a", 2000, &["10.0.0.9"]);
    let selector = plan.workload.as_mut().unwrap().selector.as_mut().unwrap();
    selector.labels.push(plan::Requirement { key: "app".into(), operator: 99, values: Vec::new() });
    rig.put_plan(&plan);
    assert_eq!(rig.counts("a"), [1, 0, 1, 0, 0]);
    let told = rig.status("a").refusal;
    assert!(
        told.starts_with("Plan A/ns/a: workload.selector.labels[app].operator 99 is not known"),
        "{told}"
    );
    let report = rig.report(&BTreeMap::new());
    assert!(report.conditions.iter().any(|one| one.message.contains(&told)), "{:?}", report.conditions);
}

#[test]
fn plan_that_makes_no_sense_is_told_for_each_proxy_that_runs_the_version_before() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("a", 2000, &["10.0.0.9"]));
    rig.accept_all(&gateway("gw"));
    let bad = mk_plan("a", 70_000, &["10.0.0.9"]);
    rig.put_plan(&bad);
    rig.accept_all(&gateway("gw"));
    let status = rig.status("a");
    assert_eq!(rig.counts("a"), [1, 0, 1, 0, 0]);
    assert_eq!(status.version, Version::of(&bad.encode_to_vec()).0);
    assert_eq!((status.endpoints, status.healthy), (1, 1), "the version before serves on");
    let told = "nodeproxy/gw, Plan A/ns/a: listener l: socket.port 70000 is not a port (1 to 65535)";
    assert_eq!(status.refusal, told);
    rig.put_plan(&mk_plan("a", 2000, &["10.0.0.9"]));
    rig.accept_all(&gateway("gw"));
    assert_eq!(rig.counts("a"), [1, 1, 0, 0, 0]);
}

#[test]
fn node_proxy_of_a_kind_that_the_agent_does_not_run_is_told() {
    let mut rig = Rig::alone();
    let settings = Some(plan::node_proxy::Settings::L7mp(plan::L7mpSettings::default()));
    rig.put(PlanType::NodeProxy, "gw", &plan::NodeProxy { settings, ..Default::default() });
    let told = |l7mp| {
        let available = Available { envoy: true, l7mp };
        let status = of_proxies(&BTreeMap::new(), available, (&rig.world, 0)).into_values().next().unwrap();
        (status.wanted, status.nacked, status.refusal.clone())
    };
    assert_eq!(told(false), (1, 1, "the agent has no l7mp: start it with --l7mp".to_owned()));
    assert_eq!(told(true), (1, 0, String::new()), "it starts");
    assert!(rig.world.open::<Envoy>(&gateway("gw"), &Announced::default()).is_none());
}
