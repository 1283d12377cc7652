//! Collects the reported state from the agent's other parts ([`run`]).

use std::sync::Arc;
use std::time::Instant;

use portreeve_agent_core::status::{Available, of_proxies};
use portreeve_agent_core::world::World;
use portreeve_runtime::now_ms;

use super::Reports;
use super::herald::Herald;
use crate::local::Local;
use crate::supervisor::Supervisor;

/// Reports the unhealthy endpoints of this node, the status of its Plans, and the state of its NodeProxies. Never
/// returns. `available` tells which programs the agent has for them.
///
/// # Errors
/// No error is expected, because its sources live as long as the agent.
/// None is expected: what it follows lives as long as it does.
pub async fn run(
    reports: Reports,
    local: Arc<Local>,
    supervisor: Supervisor,
    available: Available,
) -> anyhow::Result<()> {
    let (mut own, mut statuses, mut changes) = (local.health.own(), local.statuses(), local.changes());
    let (mut wanted, mut kept, mut names) = (local.proxy_changes(), supervisor.watch(), local.announced());
    let mut herald = Herald::default();
    loop {
        // Before the hub has requested probes, an empty list of unhealthy endpoints would be meaningless.
        let asked = local.read(World::complete);
        let health = own.borrow_and_update().clone();
        if let Some(said) = asked.then(|| herald.take(&health, Instant::now())).flatten() {
            reports.set_health(said.unhealthy.to_vec(), said.unknown.to_vec());
        }
        reports.set_names(&names.borrow_and_update());
        wanted.borrow_and_update();
        let kept_now = kept.borrow_and_update().clone();
        let mut all = statuses.borrow_and_update().clone();
        all.append(
            &mut local.read(|world| of_proxies(&kept_now, available, (world, now_ms().unsigned_abs()))),
        );
        reports.set_plans(all);
        tokio::select! {
            changed = own.changed() => changed?,
            changed = statuses.changed() => changed?,
            changed = wanted.changed() => changed?,
            changed = names.changed() => changed?,
            changed = kept.changed() => changed?,
            changed = changes.changed(), if !asked => changed?,
            () = until(herald.deadline()) => {}
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use portreeve_agent_core::health::{Failure, Host, Target, Verdict};
    use portreeve_agent_core::translate::Families;
    use portreeve_api::pod::Pod;
    use portreeve_api::{PlanType, plan};
    use portreeve_xds::{ResourceType, Version};
    use prost::Message;

    use super::*;
    use crate::identity::{Door, Identity};
    use crate::reports::told::Told;

    fn mk_pod(uid: &str) -> Pod {
        let object = serde_json::json!({
            "metadata": {"name": uid, "namespace": "ns", "uid": uid},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        });
        Pod::from_kube(serde_json::from_value(object).unwrap()).unwrap()
    }

    fn ask(world: &mut World, uid: &str, interval_ms: u64) {
        let probe = plan::Probe { uid: uid.into(), port: 80, interval_ms, ..Default::default() };
        let body = probe.encode_to_vec();
        let sent = (format!("{uid}:80").as_str().into(), Version::of(&body), Bytes::from(body));
        world.apply_feed(PlanType::Probe, &[sent], &[]).unwrap();
    }

    fn verdict(uid: &str, verdict: Verdict) -> Vec<(Target, Verdict)> {
        vec![(Target { host: Host::Pod(uid.into()), port: 80, path: "".into() }, verdict)]
    }

    /// An agent's local part and its reports.
    struct Rig {
        local: Arc<Local>,
        reports: Reports,
        supervisor: Supervisor,
        _dir: tempfile::TempDir,
    }

    // === impl Rig ===

    impl Rig {
        /// Creates the pods `old` and `new`. The hub has sent everything, and requests a probe of `old`.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (run_dir, socket) = (dir.path().to_owned(), dir.path().join("agent.sock"));
            let supervisor = Supervisor::new(run_dir, vec!["false".into()], socket, false).unwrap();
            let door = Door::new(Identity::Claimed, "n", supervisor.clone());
            let local = Local::new("n", World::new(portreeve_envoy::registry::fleets(), Families::V4), door);
            local.change(|world| {
                ["old", "new"].into_iter().for_each(|uid| world.apply_pod(mk_pod(uid)));
                ask(world, "old", 500);
                for ty in PlanType::ALL {
                    world.apply_feed(*ty, &[], &[]).unwrap();
                }
                world.health_targets();
            });
            Self { local, reports: Reports::new(1), supervisor, _dir: dir }
        }

        /// Runs the task concurrently with these steps.
        async fn beside(&self, steps: impl Future<Output = ()>) {
            let available = Available { envoy: false, l7mp: false };
            let task = run(self.reports.clone(), self.local.clone(), self.supervisor.clone(), available);
            tokio::select! {
                ended = task => panic!("{ended:?}"),
                done = tokio::time::timeout(Duration::from_secs(20), steps) => done.unwrap(),
            }
        }

        /// Waits until a new stream would get this: the uids of unhealthy and of unknown endpoints.
        async fn tells(&self, unhealthy: &[&str], unknown: &[&str]) {
            let mut outbox = self.reports.outbox.subscribe();
            let said = |outbox: &crate::reports::Outbox| {
                let report = Told::new("n").next(outbox);
                let down = report.verdicts?.unhealthy.into_iter().map(|one| one.uid).collect::<Vec<_>>();
                let open = report.unknown.into_iter().flat_map(|said| said.checks).map(|one| one.uid);
                Some(down == unhealthy && open.collect::<Vec<_>>() == unknown)
            };
            while said(&outbox.borrow_and_update()) != Some(true) {
                outbox.changed().await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn failure_is_reported_though_another_target_has_not_been_probed_yet() {
        let rig = Rig::new();
        rig.local.change(|world| world.set_verdicts(verdict("old", Verdict::Up)));
        let steps = async {
            rig.tells(&[], &[]).await;
            rig.local.change(|world| {
                ask(world, "new", u64::MAX);
                world.health_targets();
            });
            rig.tells(&[], &["new"]).await;
            let failure = Failure { reason: "refused".into(), since_ms: 7 };
            rig.local.change(|world| world.set_verdicts(verdict("old", Verdict::Down(failure))));
            rig.tells(&["old"], &["new"]).await;
            rig.local.change(|world| world.set_verdicts(verdict("new", Verdict::Up)));
            rig.tells(&["old"], &[]).await;
        };
        rig.beside(steps).await;
    }

    #[tokio::test(start_paused = true)]
    async fn target_that_can_not_be_probed_does_not_keep_the_rest_from_being_told() {
        let rig = Rig::new();
        rig.beside(rig.tells(&[], &["old"])).await;
    }
}
