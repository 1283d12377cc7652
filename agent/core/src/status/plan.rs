//! The status of one Plan on this node. Entry point: [`of_plan`].

use portreeve_api::PlanType;
use portreeve_api::model::Plan;
use portreeve_api::report::{self, PlanStatus, TunnelStatus};
use portreeve_api::report_bounds;
use portreeve_xds::{Name, Version};

use super::cut;
use crate::fleet::{Findings, Progress};
use crate::translate::lacks;
use crate::world::{Interface, TunnelState, World};

/// Maximum number of listed conflicts.
const MAX_CONFLICTS: usize = 16;

/// Returns the status of a Plan; `None` if this node does not hold it.
pub fn of_plan(world: &World, name: &Name) -> Option<PlanStatus> {
    let version = *world.held().get(&(PlanType::Plan, name.clone()))?;
    let mut status = PlanStatus { plan: name.to_string(), version: version.0, ..PlanStatus::default() };
    let refused = world.refused_plan(name);
    match (world.plan(name), refused) {
        (Some(plan), _) => {
            take_proxies(&mut status, world, (name, plan, version));
            let tunnels = world.tunnel_states(plan, name).take(report_bounds::TUNNELS);
            status.tunnels = tunnels.map(|(id, state)| of_tunnel(id, state)).collect();
        }
        (None, Some(_)) => {}
        (None, None) => return None,
    }
    match refused {
        // An invalid Plan does not tell which proxies it applies to. The agent itself counts as one.
        Some(reason) if status.wanted == 0 => status.count(Progress::Refused(reason.to_owned())),
        _ => {}
    }
    Some(status)
}

/// Counts the proxies that a Plan applies to. If its newest version is invalid, they run the last valid one.
fn take_proxies(status: &mut PlanStatus, world: &World, (name, plan, version): (&Name, &Plan, Version)) {
    let refused = world.refused_plan(name);
    let unmet = lacks::workload(plan).told("its workload", "a proxy");
    for stand in world.fleets().all().flat_map(|fleet| fleet.stands(name, plan, version)) {
        status.count(match (refused, &unmet) {
            (Some(text), _) => Progress::Refused(format!("{}, {text}", stand.title)),
            (None, Some(text)) => Progress::Inexpressible(format!("{}, {text}", stand.title)),
            (None, None) => stand.progress,
        });
        if let (None, Some(bridge)) = (&status.interface, &plan.pod_bridge) {
            status.interface = world.interface(stand.id, bridge).map(reported);
        }
        let Some(part) = stand.findings else { continue };
        let lost = part.denied.iter().map(|(listener, lost)| format!("listener {listener}: {lost}"));
        let room = MAX_CONFLICTS.saturating_sub(status.conflicts.len());
        status.conflicts.extend(
            lost.map(cut).filter(|text| !status.conflicts.contains(text)).take(room).collect::<Vec<_>>(),
        );
        status.take_census(part);
    }
    status.without_proxy = number(world.fleets().all().map(|fleet| fleet.bare(plan)).sum());
}

fn of_tunnel(id: u32, state: Option<&TunnelState>) -> TunnelStatus {
    let (peer, heard) = (state.map(|state| (&state.peer).into()), state.is_some_and(|state| state.heard));
    TunnelStatus { id, peer, heard }
}

fn reported(interface: &Interface) -> report::Interface {
    report::Interface { index: interface.index, name: interface.name.clone() }
}

/// Adds one proxy's data to a status.
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
                // A rejection tells more than a field that a proxy lacks, which has a text of its own.
                if self.refusal.is_empty() || self.refusal == self.unsupported_text {
                    self.refusal = cut(text);
                }
            }
            Progress::Inexpressible(text) => {
                self.nacked += 1;
                self.unsupported += 1;
                if self.unsupported_text.is_empty() {
                    self.unsupported_text = cut(text);
                }
                // Hubs that don't know the other text show this one.
                if self.refusal.is_empty() {
                    self.refusal.clone_from(&self.unsupported_text);
                }
            }
        }
    }

    /// Takes the endpoint counts of the proxy with the lowest share of healthy endpoints. The proxies of a
    /// node use the same endpoints, so the counts are not summed.
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
