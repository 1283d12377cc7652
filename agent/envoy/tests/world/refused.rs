//! Listeners that the translation rejects.

use super::*;

fn call(port: u32, from: From) -> plan::Plan {
    mk_plan("call", 1, port, from)
}

/// Adds TLS to the listener, which is not supported.
fn encrypted(mut plan: plan::Plan) -> plan::Plan {
    plan.listeners[0].tls = Some(plan::Tls::default());
    plan
}

/// Adds TLS to the cluster, which is not supported.
fn encrypted_behind(mut plan: plan::Plan) -> plan::Plan {
    plan.clusters[0].tls = Some(plan::Tls::default());
    plan
}

// === impl Rig ===

impl Rig {
    fn sent(&mut self, ty: Envoy, name: &str) -> Version {
        self.world.open_envoy(&gateway()).unwrap().snapshot(|s| s.get(ty, name).unwrap().version())
    }

    /// Returns the versions of the gateway's listener and cluster.
    fn call(&mut self) -> [Version; 2] {
        [self.sent(Envoy::Listener, "A/ns/call/l"), self.sent(Envoy::Cluster, "A/ns/call/c")]
    }

    /// Returns a new agent, restored from what this one stored.
    fn again(&mut self, kept: &[(Owner, Vec<Kept>)], plan: &plan::Plan) -> Rig {
        let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
        for (owner, all) in kept {
            again.world.restore_accepted(owner.clone(), all);
        }
        again.put(PlanType::NodeProxy, "gw", &mk_node_proxy("gw"));
        again.put_plan(plan);
        again
    }
}

#[test]
fn refused_listener_is_not_sent_and_the_reason_is_a_fault_that_is_told_once() {
    let mut rig = Rig::new();
    let mut plan = encrypted(call(2000, ip("10.0.0.1")));
    let mut other = call(2001, ip("10.0.0.1")).listeners.remove(0);
    other.name = "other".into();
    plan.listeners.push(other);
    rig.put_plan(&plan);
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/other"]);
    let faults = rig.world.take_faults();
    assert_eq!((faults.len(), &*faults[0].listener), (1, "A/ns/call/l"));
    assert!(faults[0].text.starts_with("the listener asks for tls, "), "{}", faults[0].text);
    plan.dns_namespace = "other".into();
    rig.put_plan(&plan);
    assert_eq!(rig.world.take_faults(), []);
}

#[test]
fn running_listener_stays_as_it_is_while_its_new_version_is_refused() {
    for bend in [encrypted, encrypted_behind] {
        let mut rig = Rig::new();
        rig.put_plan(&call(2000, ip("10.0.0.1")));
        rig.accept_types(Envoy::ALL);
        let before = rig.call();
        rig.put_plan(&bend(call(2001, ip("10.0.0.2"))));
        rig.accept_types(Envoy::ALL);
        assert_eq!((rig.call(), rig.endpoints("call").unwrap()), (before, vec!["10.0.0.1".to_owned()]));
        rig.put_plan(&bend(call(2002, ip("10.0.0.3"))));
        assert_eq!((rig.call(), rig.endpoints("call").unwrap()), (before, vec!["10.0.0.1".to_owned()]));
        rig.put_plan(&call(2002, ip("10.0.0.3")));
        assert_ne!(rig.call()[0], before[0]);
        assert_eq!(rig.endpoints("call").unwrap(), ["10.0.0.3"]);
    }
}

#[test]
fn listener_that_was_never_accepted_goes_with_its_refused_version() {
    let mut rig = Rig::new();
    rig.put_plan(&call(2000, ip("10.0.0.1")));
    rig.put_plan(&encrypted(call(2000, ip("10.0.0.1"))));
    for ty in Envoy::ALL {
        assert_eq!(rig.names(&gateway(), *ty).unwrap(), [""; 0]);
    }
}

#[test]
fn endpoints_of_a_running_listener_are_live_while_its_new_version_is_refused() {
    let mut rig = Rig::new();
    rig.put_group(&[1]);
    rig.put_plan(&call(2000, group()));
    rig.accept_types(Envoy::ALL);
    rig.put_plan(&encrypted(call(2000, group())));
    rig.put_group(&[1, 2]);
    assert_eq!(rig.endpoints("call").unwrap().len(), 2);
}

#[test]
fn running_listener_that_is_removed_from_its_plan_goes_while_another_is_refused() {
    let mut rig = Rig::new();
    let mut plan = call(2000, ip("10.0.0.1"));
    let mut other = plan.listeners[0].clone();
    (other.name, other.socket.as_mut().unwrap().port) = ("other".into(), 2001);
    plan.listeners.push(other);
    rig.put_plan(&plan);
    rig.accept_types(Envoy::ALL);
    plan.listeners.pop();
    rig.put_plan(&encrypted(plan));
    assert_eq!(rig.listeners(&gateway()), ["A/ns/call/l"]);
}

#[test]
fn agent_that_starts_again_keeps_the_running_version_and_gives_it_up_once_it_knows_the_new_one() {
    for bend in [encrypted, encrypted_behind] {
        let mut rig = Rig::new();
        rig.put_plan(&call(2000, ip("10.0.0.1")));
        rig.accept_types(Envoy::ALL);
        let before = rig.call();
        let refused = bend(call(2001, ip("10.0.0.1")));
        rig.put_plan(&refused);
        rig.accept_types(Envoy::ALL);
        let kept: Vec<_> = rig.world.take_unsaved();
        assert_eq!(rig.again(&kept, &refused).call(), before);
        // A newer agent that supports the Plan translates it. So the store must not claim that the held
        // resources were made from it.
        let version = Version::of(&refused.encode_to_vec());
        let inputs =
            |ty| kept.iter().flat_map(|(_, all)| all).find(|one| super::ty(one) == ty).unwrap().inputs;
        let plan_hash = |plan: &plan::Plan, version| {
            let request = portreeve_agent_core::translate::Request {
                plan: &Plan::try_from(plan.clone()).unwrap(),
                families: Families::V4,
                streams: &Streams::Aggregated,
                denied: &BTreeSet::new(),
                running: &BTreeSet::new(),
                defaults: Defaults::default(),
                called: &BTreeMap::new(),
            };
            portreeve_agent_core::fleet::Inputs::new(&request, version).hash
        };
        assert_ne!(inputs(Envoy::Listener), plan_hash(&refused, version));
        if bend(call(2001, ip("10.0.0.1"))).clusters[0].tls.is_some() {
            assert_ne!(inputs(Envoy::Cluster), plan_hash(&refused, version));
        }
    }
}
