//! What is told of listeners and Plans that ask for what the agent does not know.

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
    assert!(rig.world.envoys()[&gateway("gw")].plans.is_empty());
}
