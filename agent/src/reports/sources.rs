//! What the agent's other parts know, as reports ([`run`]).

use std::sync::Arc;

use super::Reports;
use crate::local::Local;
use crate::world::World;

/// Reports what is not healthy on this node and how far its Plans are, for ever.
///
/// # Errors
/// None is expected: what it follows lives as long as it does.
pub async fn run(reports: Reports, local: Arc<Local>) -> anyhow::Result<()> {
    let (mut own, mut statuses, mut changes) = (local.health.own(), local.statuses(), local.changes());
    loop {
        // Before the hub has said what to probe, "nothing is unhealthy" would only mean that nothing was asked.
        let asked = local.read(World::complete);
        let health = own.borrow_and_update().clone();
        if asked && health.complete {
            reports.set_unhealthy(health.unhealthy.to_vec());
        }
        reports.set_plans(statuses.borrow_and_update().clone());
        tokio::select! {
            changed = own.changed() => changed?,
            changed = statuses.changed() => changed?,
            changed = changes.changed(), if !asked => changed?,
        }
    }
}
