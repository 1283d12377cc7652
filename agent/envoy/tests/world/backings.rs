//! A listener whose new version was rejected keeps the endpoints of its old version.

use super::*;

const LISTENER: &str = "A/ns/call/l";

// === impl Rig ===

impl Rig {
    /// Lets the gateway accept a change of the Plan, except for the listener `l`.
    fn refuse_listener(&mut self, plan: &plan::Plan) {
        self.put_plan(plan);
        self.accept_types(&[Envoy::Cluster, Envoy::Endpoint]);
        let view = self.world.open_envoy(&gateway()).unwrap();
        let version = view.snapshot(|s| s.get(Envoy::Listener, LISTENER).unwrap().version());
        self.world.refused(&gateway(), Envoy::Listener, &[(LISTENER.into(), version)], "no good");
        self.accept_types(Envoy::ALL);
    }
}

/// Returns a rig whose gateway runs a Plan.
fn running(plan: &plan::Plan) -> Rig {
    let mut rig = Rig::new();
    rig.put_plan(plan);
    rig.accept_types(Envoy::ALL);
    rig
}

fn call(port: u32, worker: &str) -> plan::Plan {
    mk_plan("call", 1, port, ip(worker))
}

/// Renames the Plan's only cluster.
fn renamed(mut plan: plan::Plan, name: &str) -> plan::Plan {
    plan.clusters[0].name = name.into();
    plan.listeners[0].rules[0].route.as_mut().unwrap().destination = name.into();
    plan
}

#[test]
fn refused_listener_leads_to_the_worker_that_it_had() {
    let mut rig = running(&call(2000, "10.0.0.1"));
    rig.put_plan(&call(2001, "10.0.0.2"));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.2"]);
    rig.refuse_listener(&call(2001, "10.0.0.2"));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.1"]);
    rig.refuse_listener(&call(2002, "10.0.0.3"));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.1"], "the second edit was refused too");
    rig.put_plan(&call(2003, "10.0.0.3"));
    rig.accept_types(Envoy::ALL);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.3"]);
    rig.refuse_listener(&call(2001, "10.0.0.4"));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.3"]);
}

#[test]
fn listener_that_is_tried_again_takes_its_new_worker_when_it_is_accepted() {
    let mut rig = running(&call(2000, "10.0.0.1"));
    let edits = [call(2001, "10.0.0.2"), renamed(call(2002, "10.0.0.2"), "d")];
    for edit in edits {
        rig.put_plan(&edit);
        rig.accept_types(&[Envoy::Cluster, Envoy::Endpoint]);
        let view = rig.world.open_envoy(&gateway()).unwrap();
        let version = view.snapshot(|s| s.get(Envoy::Listener, LISTENER).unwrap().version());
        let listener = (Name::from(LISTENER), version);
        rig.world.put_off(&gateway(), Envoy::Listener, std::slice::from_ref(&listener));
        assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.1"], "of the listener that runs");
        let still = view.snapshot(|s| s.get(Envoy::Listener, LISTENER).unwrap().version());
        assert_eq!(still, version, "the new version is tried again");
        let cluster = format!("A/ns/call/{}", edit.clusters[0].name);
        let clusters = rig.names(&gateway(), Envoy::Cluster).unwrap();
        assert!(clusters.contains(&cluster), "{clusters:?}");
        rig.world.accepted(&gateway(), Envoy::Listener, &vec![listener].into());
        assert_eq!(rig.names(&gateway(), Envoy::Cluster).unwrap(), [cluster]);
        rig.put_plan(&call(2000, "10.0.0.1"));
        rig.accept_types(Envoy::ALL);
    }
}

#[test]
fn endpoints_of_a_refused_listener_are_live_where_its_cluster_is_the_same() {
    let of_group = |port| mk_plan("call", 1, port, group());
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    rig.put_plan(&of_group(2000));
    rig.accept_types(Envoy::ALL);
    rig.refuse_listener(&of_group(2001));
    let before = rig.endpoints("call").unwrap();
    rig.put_group(&[1, 2]);
    let after = rig.endpoints("call").unwrap();
    assert!(before.len() == 1 && after.len() == 2, "{before:?} {after:?}");
}

#[test]
fn cluster_with_the_listeners_name_is_taken_for_no_listener() {
    let call = |port, worker: &str| renamed(call(port, worker), "l");
    let mut rig = running(&call(2000, "10.0.0.1"));
    let mut edited = call(2001, "10.0.0.2");
    // A changed cluster, so that the proxy first accepts a new version of it.
    edited.clusters[0].connect_timeout_ms = 7;
    rig.refuse_listener(&edited);
    let view = rig.world.open_envoy(&gateway()).unwrap();
    let assignment = view.snapshot(|s| s.get(Envoy::Endpoint, LISTENER).unwrap().version());
    let before = running(&call(2000, "10.0.0.1")).world.open_envoy(&gateway()).unwrap();
    assert_eq!(assignment, before.snapshot(|s| s.get(Envoy::Endpoint, LISTENER).unwrap().version()));
}

#[test]
fn edit_of_the_endpoints_alone_counts_as_what_the_listener_had() {
    let mut rig = running(&call(2000, "10.0.0.1"));
    rig.put_plan(&call(2000, "10.0.0.2"));
    rig.accept_types(Envoy::ALL);
    rig.refuse_listener(&call(2001, "10.0.0.3"));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.2"]);
}

#[test]
fn refused_listener_keeps_a_cluster_that_the_edit_renames() {
    let mut rig = running(&call(2000, "10.0.0.1"));
    rig.refuse_listener(&renamed(call(2001, "10.0.0.1"), "d"));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.1"]);
    assert_eq!(rig.names(&gateway(), Envoy::Cluster).unwrap(), ["A/ns/call/c"]);
    rig.put_plan(&renamed(call(2000, "10.0.0.1"), "d"));
    rig.accept_types(Envoy::ALL);
    assert_eq!(rig.names(&gateway(), Envoy::Cluster).unwrap(), ["A/ns/call/d"]);
}

#[test]
fn cluster_that_another_listener_leads_to_follows_the_edit() {
    let shared = |port, worker: &str| {
        let mut plan = call(port, worker);
        let mut other = plan.listeners[0].clone();
        other.name = "other".into();
        other.socket.as_mut().unwrap().port = 3000;
        plan.listeners.push(other);
        plan
    };
    let mut rig = running(&shared(2000, "10.0.0.1"));
    rig.refuse_listener(&shared(2001, "10.0.0.2"));
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.2"]);
}

#[test]
fn agent_that_starts_again_serves_the_worker_that_a_refused_listener_had() {
    let mut rig = running(&call(2000, "10.0.0.1"));
    rig.refuse_listener(&call(2001, "10.0.0.2"));
    let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
    for (owner, all) in rig.world.take_unsaved() {
        again.world.restore_accepted(owner, &all);
    }
    let proxy = mk_node_proxy("gw").encode_to_vec();
    let sent = |name: &str, body: Vec<u8>| (Name::from(name), Version::of(&body), Bytes::from(body));
    let plan = call(2001, "10.0.0.2").encode_to_vec();
    let kept = BTreeMap::from([
        (PlanType::NodeProxy, vec![sent("gw", proxy)]),
        (PlanType::Plan, vec![sent("A/ns/call", plan)]),
    ]);
    again.world.restore_feed(&kept, true);
    again.refuse_listener(&call(2001, "10.0.0.2"));
    assert_eq!(again.endpoints("call").unwrap(), ["10.0.0.1"]);
}
