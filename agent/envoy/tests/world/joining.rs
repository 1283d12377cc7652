//! Pods with an l7mp proxy, which are unhealthy until the proxy has got its first complete configuration.

use portreeve_agent_core::health::{Failure, Verdict};
use portreeve_agent_core::translate::l7mp::L7mp;
use portreeve_xds::Event;

use super::*;

const UID: &str = "w1";

// === impl Rig ===

impl Rig {
    /// Returns a rig with a complete hub, this Plan, and a pod whose l7mp proxy hasn't connected.
    fn with_worker(plan: &plan::Plan) -> Self {
        let mut rig = Self::new();
        for ty in PlanType::ALL {
            rig.respond(*ty, &[], &[]).unwrap();
        }
        rig.put_plan(plan);
        rig.start_worker();
        rig.ask_for_check();
        rig
    }

    /// Lets the hub ask for a check of the worker.
    fn ask_for_check(&mut self) {
        let check = plan::Probe { uid: UID.into(), port: 1234, ..plan::Probe::default() };
        self.put(PlanType::Probe, "check", &check);
    }

    fn start_worker(&mut self) {
        let l7mp = Some(portreeve_api::pod::L7MP_PORT);
        self.world.apply_pod(Pod { l7mp, ..mk_pod(UID, "gw") });
    }

    fn connect_worker(&mut self) {
        self.world.open::<L7mp>(&pod_id(UID), &Announced::default()).unwrap();
        self.world.welcome::<L7mp>(1, &pod_id(UID), Announced::default());
    }

    /// Lets the worker's proxy accept everything of these types.
    fn accept_at_worker(&mut self, types: &[L7mp]) {
        let view = self.world.open::<L7mp>(&pod_id(UID), &Announced::default()).unwrap();
        for ty in types {
            let resources: Vec<_> =
                view.snapshot(|s| s.iter(*ty).map(|(name, r)| (name.clone(), r.version())).collect());
            assert!(!resources.is_empty(), "{ty:?}");
            let removed = Vec::new();
            self.world.answered(
                &pod_id(UID),
                &Event::Acked { ty: *ty, resources: resources.into(), removed, claimed: false },
            );
        }
    }

    /// Returns whether the agent reports the worker as unhealthy.
    fn holds_worker_back(&self) -> bool {
        self.world.health().unhealthy_here().iter().any(|one| one.uid == UID && one.port == 1234)
    }
}

#[test]
fn worker_is_unhealthy_until_its_proxy_has_answered_everything() {
    let mut rig = Rig::with_worker(&mk_plan("call", 1, 5000, ip("10.0.0.9")));
    assert!(rig.holds_worker_back());
    rig.connect_worker();
    assert!(rig.holds_worker_back());
    rig.accept_at_worker(&[L7mp::Cluster, L7mp::Endpoints]);
    assert!(rig.holds_worker_back(), "the listener is still out");
    rig.accept_at_worker(&[L7mp::Listener]);
    assert!(!rig.holds_worker_back());
    // Later objects and later news of the pod hold nothing back.
    rig.put_plan(&mk_plan("later", 2, 5001, ip("10.0.0.9")));
    rig.start_worker();
    assert!(!rig.holds_worker_back());
    // Another pod of this name is another pod.
    rig.world.delete_pod(&UID.into());
    assert!(!rig.holds_worker_back());
    rig.start_worker();
    assert!(rig.holds_worker_back());
}

#[test]
fn worker_waits_for_the_hub_and_for_the_sources_of_its_plans() {
    let mut rig = Rig::with_worker(&mk_plan("call", 1, 5000, group()));
    rig.connect_worker();
    assert!(rig.holds_worker_back(), "the endpoints of its Plan are not known");
    rig.put_group(&[1]);
    assert!(rig.holds_worker_back());
    rig.accept_at_worker(&[L7mp::Cluster, L7mp::Endpoints, L7mp::Listener]);
    assert!(!rig.holds_worker_back());

    let mut rig = Rig::with_worker(&mk_plan("call", 1, 5000, ip("10.0.0.9")));
    rig.remove(PlanType::Probe, "check");
    rig.connect_worker();
    rig.accept_at_worker(&[L7mp::Cluster, L7mp::Endpoints, L7mp::Listener]);
    assert!(rig.holds_worker_back(), "the hub may not know this pod yet");
    rig.ask_for_check();
    assert!(!rig.holds_worker_back());
}

#[test]
fn worker_whose_proxy_ended_joins_again() {
    let mut rig = Rig::with_worker(&mk_plan("call", 1, 5000, ip("10.0.0.9")));
    rig.connect_worker();
    rig.accept_at_worker(&[L7mp::Cluster, L7mp::Endpoints, L7mp::Listener]);
    let target = rig.world.health_targets().into_keys().next().unwrap();
    let down = Verdict::Down(Failure { reason: "refused".into(), since_ms: 7 });
    // A check that fails says nothing of a proxy that is connected.
    rig.world.set_verdicts(vec![(target.clone(), down.clone())]);
    rig.world.set_verdicts(vec![(target.clone(), Verdict::Up)]);
    assert!(!rig.holds_worker_back());
    for connected_first in [true, false] {
        rig.world
            .set_verdicts(vec![(target.clone(), if connected_first { Verdict::Up } else { down.clone() })]);
        rig.world.part::<L7mp>(1, Instant::now());
        rig.world.set_verdicts(vec![(target.clone(), down.clone())]);
        rig.world.set_verdicts(vec![(target.clone(), Verdict::Up)]);
        assert!(rig.holds_worker_back());
        rig.connect_worker();
        assert!(rig.holds_worker_back(), "what it had before counts no more");
        rig.accept_at_worker(&[L7mp::Cluster, L7mp::Endpoints]);
        assert!(rig.holds_worker_back());
        rig.accept_at_worker(&[L7mp::Listener]);
        assert!(!rig.holds_worker_back() && rig.world.health().unhealthy_here().is_empty());
    }
}

#[test]
fn worker_without_objects_waits_for_its_proxy_only() {
    let mut plan = mk_plan("call", 1, 5000, ip("10.0.0.9"));
    plan.workload = Some(mk_workload("app", "other"));
    let mut rig = Rig::with_worker(&plan);
    assert!(rig.holds_worker_back());
    rig.connect_worker();
    assert!(!rig.holds_worker_back());
}

#[test]
fn worker_of_an_earlier_agent_has_joined_before() {
    let plan = mk_plan("call", 1, 5000, ip("10.0.0.9"));
    let mut rig = Rig::with_worker(&plan);
    rig.connect_worker();
    rig.accept_at_worker(&[L7mp::Cluster, L7mp::Endpoints, L7mp::Listener]);
    let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
    for (owner, all) in rig.world.take_unsaved() {
        again.world.restore_accepted(owner, &all);
    }
    again.start_worker();
    assert!(!again.holds_worker_back());
}
