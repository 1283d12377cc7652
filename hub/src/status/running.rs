//! `Programmed` of a NodeProxy: whether it runs on each of its nodes, or why not.

use std::collections::HashMap;
use std::time::Duration;

use portreeve_api::conditions::{ConditionType, Reason, Verdict};

use super::plan_report::{PATIENCE, PlanReport};
use crate::subject::Served;

/// Returns the condition, and the number of nodes on which the NodeProxy runs.
pub(super) fn running(served: &Served, reports: &[PlanReport], waited: Duration) -> (Verdict, usize) {
    let (mut ready, mut away, mut failing) = (0, Vec::new(), Vec::new());
    let nodes = served.nodes.len();
    let current = reports.iter().filter(|report| report.status.version == served.version);
    let current: HashMap<_, _> = current.map(|report| (&report.node, report)).collect();
    for node in served.nodes.iter() {
        match current.get(node) {
            Some(report) if report.status.acked > 0 => ready += 1,
            Some(report) if report.status.nacked > 0 => {
                failing.push(format!("node {node}: {}", report.status.refusal))
            }
            Some(report) if report.reachable => {}
            _ if waited < PATIENCE => {}
            _ => away.push(node.to_string()),
        }
    }
    let counted = format!("runs on {ready} of {nodes} nodes");
    let (reason, message) = match (failing.first(), away.first()) {
        _ if nodes == 0 => (Reason::NoNode, "its nodeSelector matches no node".to_owned()),
        (Some(first), _) => (Reason::NotRunning, format!("{counted}, fails on {}; {first}", failing.len())),
        (_, Some(first)) => {
            (Reason::Unreachable, format!("{counted}; not heard of on {}: {first}", away.len()))
        }
        _ if ready < nodes => (Reason::Pending, counted),
        _ => (Reason::Programmed, counted),
    };
    let status = (reason == Reason::Programmed).into();
    let generation = Some(served.generation);
    (Verdict { type_: ConditionType::Programmed, status, reason, message, generation }, ready)
}
