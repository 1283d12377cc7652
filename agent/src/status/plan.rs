//! How far one Plan is on this node. Entry point: [`of_plan`].

use std::collections::BTreeMap;

use portreeve_api::PlanType;
use portreeve_api::report::PlanStatus;
use portreeve_xds::{Name, Version};

use super::cut;
use crate::local::Answers;
use crate::translate::lacks;
use crate::world::{Contribution, Proxy, ProxyId, World};

/// Conflicts at most.
const MAX_CONFLICTS: usize = 16;

/// How far a proxy is with a Plan.
enum Standing {
    /// It accepted every resource of the Plan's present version.
    Acked,
    /// It refused one, in these words, or can't be told one.
    Refused(String),
    /// It has yet to answer.
    Pending,
    /// It has no stream, and has had none for a while.
    Unreachable,
}

/// How far a Plan is; none when this node does not hold it.
pub fn of_plan(world: &World, answers: &BTreeMap<ProxyId, Answers>, name: &Name) -> Option<PlanStatus> {
    let plan = world.plan(name)?;
    let version = *world.held().get(&(PlanType::Plan, name.clone()))?;
    let mut status = PlanStatus { plan: name.to_string(), version: version.0, ..PlanStatus::default() };
    let unmet = lacks::workload(plan).told("its workload");
    for (id, proxy) in world.proxies().iter().filter(|(_, proxy)| proxy.facts.may_take(plan)) {
        if let Some(text) = &unmet {
            status.count(Standing::Refused(cut(format!("{}, {text}", proxy.facts.title))));
            continue;
        }
        let part = proxy.plans.get(name);
        status.count(standing(proxy, part, answers.get(id), version));
        let Some(part) = part else { continue };
        let lost = part.denied.iter().map(|(listener, lost)| format!("listener {listener}: {lost}"));
        let room = MAX_CONFLICTS.saturating_sub(status.conflicts.len());
        status.conflicts.extend(
            lost.map(cut).filter(|text| !status.conflicts.contains(text)).take(room).collect::<Vec<_>>(),
        );
        status.take_census(part);
    }
    status.without_proxy = number(world.bare_pods().filter(|facts| facts.takes(plan)).count());
    Some(status)
}

fn standing(
    proxy: &Proxy,
    part: Option<&Contribution>,
    answers: Option<&Answers>,
    version: Version,
) -> Standing {
    let Some(answers) = answers.filter(|answers| answers.is_there()) else { return Standing::Unreachable };
    // Its groups or names are not known completely: what it has is of an earlier version.
    let Some(part) = part.filter(|part| part.made_of == Some(version)) else { return Standing::Pending };
    let title = &proxy.facts.title;
    let refused = part.resources.keys().find_map(|key| {
        let refusal = answers.refused.get(key).filter(|refusal| Some(refusal.version) == part.wanted(key))?;
        Some(format!("{title}, {} {}: {}", key.0.noun(), key.1, refusal.text))
    });
    let inexpressible = || {
        let first = part.remarks.first()?;
        let others = match part.remarks.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{title}, {}: {}{others}", first.at, first.text))
    };
    let taken = || part.taken().next().map(|(listener, text)| format!("{title}, {listener}: {text}"));
    if let Some(text) = refused.or_else(inexpressible).or_else(taken) {
        return Standing::Refused(cut(text));
    }
    if !part.taken.is_empty() {
        return Standing::Pending;
    }
    let runs = |(key, resource): (&_, &std::sync::Arc<portreeve_xds::Resource>)| {
        answers.runs(key, resource.version())
    };
    if part.resources.iter().all(runs) { Standing::Acked } else { Standing::Pending }
}

/// What counts in a status.
trait Count {
    fn count(&mut self, standing: Standing);
    fn take_census(&mut self, part: &Contribution);
}

// === impl PlanStatus ===

impl Count for PlanStatus {
    fn count(&mut self, standing: Standing) {
        self.wanted += 1;
        match standing {
            Standing::Acked => self.acked += 1,
            Standing::Pending => {}
            Standing::Unreachable => self.unreachable += 1,
            Standing::Refused(text) => {
                self.nacked += 1;
                if self.refusal.is_empty() {
                    self.refusal = text;
                }
            }
        }
    }

    /// The proxies of a node use the same endpoints: the one that is worst off speaks for all.
    fn take_census(&mut self, part: &Contribution) {
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
