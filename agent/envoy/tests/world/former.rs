//! Clusters keep the name that an earlier hub gave them while their proxy runs.

use super::*;

const LISTENER: &str = "A/ns/call/l";

/// The Plan of an earlier hub for two listeners, `l` and `m`, that share the cluster `c`.
fn by_earlier_hub() -> plan::Plan {
    let mut plan = mk_plan("call", 1, 2000, ip("10.0.0.1"));
    let mut other = plan.listeners[0].clone();
    other.name = "m".into();
    other.socket.as_mut().unwrap().port = 2001;
    plan.listeners.push(other);
    plan
}

/// The Plan of the current hub for the same object, with these workers behind `l` and `m`.
fn by_this_hub(workers: [&str; 2]) -> plan::Plan {
    let mut plan = by_earlier_hub();
    let cluster = plan.clusters.remove(0);
    for (listener, worker) in plan.listeners.iter_mut().zip(workers) {
        let name = format!("{}/c", listener.name);
        listener.rules[0].route.as_mut().unwrap().destination = name.clone();
        let mut cluster = plan::Cluster { name, ..cluster.clone() };
        cluster.endpoints[0].from = Some(ip(worker));
        plan.clusters.push(cluster);
    }
    plan
}

fn running(plan: &plan::Plan) -> Rig {
    let mut rig = Rig::new();
    rig.put_plan(plan);
    rig.accept_types(Envoy::ALL);
    rig
}

fn listener(rig: &mut Rig) -> Vec<u8> {
    let view = rig.world.open_envoy(&gateway()).unwrap();
    view.snapshot(|s| s.get(Envoy::Listener, LISTENER).unwrap().body().to_vec())
}

fn clusters(rig: &mut Rig) -> Vec<String> {
    let names = rig.names(&gateway(), Envoy::Cluster).unwrap();
    assert_eq!(rig.names(&gateway(), Envoy::Endpoint).unwrap(), names);
    names
}

#[test]
fn hub_that_names_clusters_otherwise_touches_nothing_that_runs() {
    let mut rig = running(&by_earlier_hub());
    let before = listener(&mut rig);
    rig.put_plan(&by_this_hub(["10.0.0.1"; 2]));
    assert_eq!(clusters(&mut rig), ["A/ns/call/c"]);
    assert_eq!(listener(&mut rig), before);
    rig.put_plan(&by_this_hub(["10.0.0.2"; 2]));
    assert_eq!((clusters(&mut rig), listener(&mut rig)), (vec!["A/ns/call/c".to_owned()], before));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.2"]);
}

#[test]
fn agent_that_starts_after_the_hub_keeps_the_names_that_its_store_has() {
    let mut rig = running(&by_earlier_hub());
    let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
    for (owner, all) in rig.world.take_unsaved() {
        again.world.restore_accepted(owner, &all);
    }
    again.put(PlanType::NodeProxy, "gw", &mk_node_proxy("gw"));
    again.put_plan(&by_this_hub(["10.0.0.1"; 2]));
    assert_eq!(clusters(&mut again), ["A/ns/call/c"]);
    assert_eq!(listener(&mut again), listener(&mut rig));
}

#[test]
fn proxy_that_starts_anew_gets_todays_names() {
    let mut rig = running(&by_earlier_hub());
    rig.put_plan(&by_this_hub(["10.0.0.1"; 2]));
    rig.world.restarted::<Envoy>(&gateway());
    assert_eq!(clusters(&mut rig), ["A/ns/call/l/c", "A/ns/call/m/c"]);
}

#[test]
fn clusters_of_one_former_name_that_differ_get_todays_names() {
    let mut rig = running(&by_earlier_hub());
    rig.put_plan(&by_this_hub(["10.0.0.1", "10.0.0.2"]));
    assert_eq!(clusters(&mut rig), ["A/ns/call/l/c", "A/ns/call/m/c"]);
    rig.accept_types(Envoy::ALL);
    rig.put_plan(&by_this_hub(["10.0.0.1"; 2]));
    assert_eq!(clusters(&mut rig), ["A/ns/call/l/c", "A/ns/call/m/c"], "they don't go back");
}
