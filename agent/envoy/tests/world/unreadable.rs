//! Resources that decode but are invalid are rejected alone, and the last valid version stays.

use super::*;

/// A Plan whose listener has an invalid port.
fn nonsense(name: &str) -> plan::Plan {
    mk_plan(name, 1, 70_000, ip("10.0.0.1"))
}

/// A Plan whose workload selector has an operator that only a newer hub knows.
fn asking(name: &str) -> plan::Plan {
    let mut plan = mk_plan(name, 1, 2000, ip("10.0.0.1"));
    let requirement = plan::Requirement { key: "app".into(), operator: 99, values: vec!["gw".into()] };
    let selector = plan.workload.as_mut().unwrap().selector.as_mut().unwrap();
    selector.labels.push(requirement);
    plan
}

// === impl Rig ===

impl Rig {
    fn told(&self, plan: &str) -> Option<String> {
        self.world.refused_plan(&format!("A/ns/{plan}").into()).map(ToOwned::to_owned)
    }

    fn held(&self, plan: &plan::Plan) -> bool {
        let key = (PlanType::Plan, name_of(plan));
        self.world.held().get(&key) == Some(&Version::of(&plan.encode_to_vec()))
    }
}

#[test]
fn plan_that_makes_no_sense_is_refused_alone_and_the_rest_of_its_response_is_taken() {
    let mut rig = Rig::new();
    let plans = [nonsense("bad"), mk_plan("good", 1, 2000, ip("10.0.0.1"))];
    let bodies = plans.each_ref().map(|plan| (name_of(plan).to_string(), plan.encode_to_vec()));
    let response = bodies.each_ref().map(|(name, body)| (name.as_str(), body.clone()));
    let effects = rig.respond(PlanType::Plan, &response, &[]).unwrap();
    let reason = "Plan A/ns/bad: listener l: socket.port 70000 is not a port (1 to 65535)".to_owned();
    assert_eq!(
        (effects.refused, rig.told("bad"), rig.told("good")),
        (vec![reason.clone()], Some(reason), None)
    );
    assert_eq!(rig.listeners(&gateway()), ["A/ns/good/l"]);
    assert!(rig.held(&plans[0]) && rig.held(&plans[1]), "the hub need not send them again");
}

#[test]
fn last_version_that_could_be_read_stays_until_one_can_be_read_again() {
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    for bad in [nonsense("call"), asking("call"), nonsense("call")] {
        rig.put_plan(&bad);
        assert!(rig.told("call").is_some() && rig.held(&bad));
        assert!(rig.world.is_refused_resource(PlanType::Plan, &name_of(&bad)), "it is not to be kept");
        assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
    }
    rig.put_group(&[1, 2]);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.1", "10.0.1.2"], "its endpoints are live");
    rig.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.7")));
    assert_eq!((rig.told("call"), rig.endpoints("call").unwrap()), (None, vec!["10.0.0.7".to_owned()]));
    rig.put_plan(&nonsense("call"));
    rig.remove(PlanType::Plan, "A/ns/call");
    assert_eq!((rig.told("call"), rig.listeners(&gateway())), (None, vec![]));
}

#[test]
fn plan_whose_selector_is_not_known_is_told() {
    let mut rig = Rig::new();
    rig.put_plan(&asking("call"));
    let told = rig.told("call").unwrap();
    let expected = "Plan A/ns/call: workload.selector.labels[app].operator 99 is not known to version ";
    assert!(told.starts_with(expected) && told.ends_with(": update the agent"), "{told}");
    assert!(rig.listeners(&gateway()).is_empty());
    assert!(rig.world.take_touched().contains("A/ns/call"));
}

#[test]
fn plan_with_the_name_of_another_is_refused() {
    let mut rig = Rig::new();
    rig.put(PlanType::Plan, "A/ns/other", &mk_plan("call", 1, 2000, ip("10.0.0.1")));
    let expected = "Plan A/ns/other: its origin is the object of Plan A/ns/call";
    assert_eq!(rig.told("other").as_deref(), Some(expected));
    assert!(rig.listeners(&gateway()).is_empty());
}

#[test]
fn what_a_proxy_runs_of_a_kept_plan_stays_where_this_version_finds_no_sense_in_the_plan() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.1")));
    rig.accept_types(Envoy::ALL);
    let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
    for (owner, all) in rig.world.take_unsaved() {
        again.world.restore_accepted(owner, &all);
    }
    let sent = |name: &str, body: Vec<u8>| (name.into(), Version::of(&body), Bytes::from(body));
    let plan = sent("A/ns/call", nonsense("call").encode_to_vec());
    let proxy = sent("gw", mk_node_proxy("gw").encode_to_vec());
    let kept = BTreeMap::from([(PlanType::NodeProxy, vec![proxy]), (PlanType::Plan, vec![plan])]);
    let (effects, errors) = again.world.restore_feed(&kept, true);
    assert_eq!((effects.refused.len(), errors), (1, vec![]));
    assert_eq!(again.listeners(&gateway()), ["A/ns/call/l"]);
    for ty in PlanType::ALL {
        again.respond(*ty, &[], &[]).unwrap();
    }
    assert_eq!(again.listeners(&gateway()), ["A/ns/call/l"], "the hub says nothing new of it");
    again.remove(PlanType::Plan, "A/ns/call");
    assert!(again.listeners(&gateway()).is_empty());
}

#[test]
fn node_proxy_that_makes_no_sense_is_wanted_all_the_same() {
    let mut rig = Rig::new();
    let envoy = plan::EnvoySettings { health_listener: 70_000, ..Default::default() };
    let settings = Some(plan::node_proxy::Settings::Envoy(envoy));
    let bad = plan::NodeProxy { settings, ..mk_node_proxy("other") };
    let effects = rig.put(PlanType::NodeProxy, "gw", &bad);
    let reason = "NodeProxy gw: envoy.health_listener 70000 is not a port (1 to 65535)";
    assert_eq!((effects.proxies, effects.refused), (true, vec![reason.to_owned()]));
    rig.put(PlanType::NodeProxy, "new", &bad);
    let wanted: Vec<_> =
        rig.world.wanted_node_proxies().map(|(name, one)| (&**name, one.is_some())).collect();
    assert_eq!(wanted, [("gw", true), ("new", false)]);
    assert!(rig.names(&gateway(), Envoy::Listener).is_some());
}

#[test]
fn endpoint_that_makes_no_sense_is_left_out_and_told() {
    let mut rig = Rig::new();
    rig.put_plan(&mk_plan("call", 1, 2000, group()));
    rig.put(PlanType::Group, W, &plan::Group { shards: 1, ..Default::default() });
    let mut slice = mk_slice(&[1, 2]);
    slice.endpoints[0].ips = vec!["nonsense".into()];
    let effects = rig.put(PlanType::Slice, &names::slice_name(W, 1, 0), &slice);
    let reason = "slice ns/app=w#1.0: endpoint uid-1: ips \"nonsense\" is not an IP address";
    assert_eq!(effects.refused, [reason]);
    assert_eq!(rig.endpoints("call").unwrap(), ["10.0.1.2"]);
}
