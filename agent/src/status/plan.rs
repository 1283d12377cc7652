//! How far one Plan is on this node. Entry point: [`of_plan`].

use portreeve_api::PlanType;
use portreeve_api::report::PlanStatus;
use portreeve_xds::Name;

use super::cut;
use crate::fleet::{Findings, Progress};
use crate::translate::lacks;
use crate::world::World;

/// Conflicts at most.
const MAX_CONFLICTS: usize = 16;

/// How far a Plan is; none when this node does not hold it.
pub fn of_plan(world: &World, name: &Name) -> Option<PlanStatus> {
    let plan = world.plan(name)?;
    let version = *world.held().get(&(PlanType::Plan, name.clone()))?;
    let mut status = PlanStatus { plan: name.to_string(), version: version.0, ..PlanStatus::default() };
    let unmet = lacks::workload(plan).told("its workload");
    for stand in world.fleets().all().flat_map(|fleet| fleet.stands(name, plan, version)) {
        if let Some(text) = &unmet {
            status.count(Progress::Refused(format!("{}, {text}", stand.title)));
            continue;
        }
        status.count(stand.progress);
        let Some(part) = stand.findings else { continue };
        let lost = part.denied.iter().map(|(listener, lost)| format!("listener {listener}: {lost}"));
        let room = MAX_CONFLICTS.saturating_sub(status.conflicts.len());
        status.conflicts.extend(
            lost.map(cut).filter(|text| !status.conflicts.contains(text)).take(room).collect::<Vec<_>>(),
        );
        status.take_census(part);
    }
    status.without_proxy = number(world.fleets().all().map(|fleet| fleet.bare(plan)).sum());
    Some(status)
}

/// What counts in a status.
trait Count {
    fn count(&mut self, progress: Progress);
    fn take_census(&mut self, part: &Findings);
}

// === impl PlanStatus ===

impl Count for PlanStatus {
    fn count(&mut self, progress: Progress) {
        self.wanted += 1;
        match progress {
            Progress::Acked => self.acked += 1,
            Progress::Pending => {}
            Progress::Unreachable => self.unreachable += 1,
            Progress::Refused(text) => {
                self.nacked += 1;
                if self.refusal.is_empty() {
                    self.refusal = cut(text);
                }
            }
        }
    }

    /// The proxies of a node use the same endpoints: the one that is worst off speaks for all.
    fn take_census(&mut self, part: &Findings) {
        let census = part.census;
        let fewer = u64::from(census.healthy) * u64::from(self.endpoints)
            < u64::from(self.healthy) * u64::from(census.endpoints);
        if self.endpoints == 0 || fewer {
            (self.endpoints, self.healthy, self.unchecked) =
                (census.endpoints, census.healthy, census.unchecked);
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
