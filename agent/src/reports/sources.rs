//! What the agent's other parts know, as reports ([`run`]).

use std::sync::Arc;

use super::Reports;
use crate::keepers::Keepers;
use crate::local::Local;
use crate::status::of_proxies;
use crate::world::World;

/// Reports what is not healthy on this node, how far its Plans are, and how its NodeProxies run, for ever. `has_envoy`: the
/// agent has an Envoy for those.
///
/// # Errors
/// None is expected: what it follows lives as long as it does.
pub async fn run(
    reports: Reports,
    local: Arc<Local>,
    (keepers, has_envoy): (Keepers, bool),
) -> anyhow::Result<()> {
    let (mut own, mut statuses, mut changes) = (local.health.own(), local.statuses(), local.changes());
    let (mut wanted, mut kept) = (local.proxy_changes(), keepers.watch());
    loop {
        // Before the hub has said what to probe, "nothing is unhealthy" would only mean that nothing was asked.
        let asked = local.read(World::complete);
        let health = own.borrow_and_update().clone();
        if asked && health.complete {
            reports.set_unhealthy(health.unhealthy.to_vec());
        }
        wanted.borrow_and_update();
        let kept_now = kept.borrow_and_update().clone();
        let mut all = statuses.borrow_and_update().clone();
        all.append(&mut local.read(|world| of_proxies(world, &kept_now, has_envoy)));
        reports.set_plans(all);
        tokio::select! {
            changed = own.changed() => changed?,
            changed = statuses.changed() => changed?,
            changed = wanted.changed() => changed?,
            changed = kept.changed() => changed?,
            changed = changes.changed(), if !asked => changed?,
        }
    }
}
