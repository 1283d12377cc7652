//! `Programmed`: whether every wanted proxy on every node of the Plan has confirmed the present version, or why not.

use std::collections::HashSet;
use std::time::Duration;

use portreeve_api::conditions::{ConditionType, Reason, Verdict};

use super::plan_report::{PATIENCE, PlanReport};
use crate::subject::Served;

/// The number of proxies on all nodes, by their answer.
#[derive(Default)]
struct Tally {
    wanted: u32,
    acked: u32,
    nacked: u32,
    /// Of these, the proxies that can't express a part of the Plan.
    unsupported: u32,
    unreachable: u32,
    without_proxy: u32,
    /// Nodes that have yet to answer.
    silent: u32,
    /// Number of nodes that have not answered in time.
    lost: usize,
    /// The first of them.
    lost_names: Vec<String>,
    refusal: Option<String>,
    /// What the first proxy can't express.
    lack: Option<String>,
    conflict: Option<String>,
}

/// Number of names in a message.
const MOST: usize = 5;

/// Returns the condition of a Plan that is served.
pub(super) fn programmed(served: &Served, reports: &[PlanReport], waited: Duration) -> Verdict {
    let mut tally = Tally::default();
    for report in reports {
        tally.hear(report, served, waited);
    }
    tally.miss_others(served, reports, waited);
    let (reason, detail) = tally.judge(served);
    let message = match detail {
        Some(detail) => format!("{}; {detail}", tally.counts()),
        None => tally.counts(),
    };
    condition(reason, message, served.generation)
}

/// Returns why some of a Plan's proxies can't express it: how many, and the first of them with the part and the field.
/// `None` if all can.
pub(super) fn unsupported(served: &Served, reports: &[PlanReport]) -> Option<String> {
    let current = reports.iter().filter(|report| report.status.version == served.version);
    let lacking: Vec<&PlanReport> = current.filter(|report| report.status.unsupported > 0).collect();
    let first = lacking.first()?;
    let number: u32 = lacking.iter().map(|report| report.status.unsupported).sum();
    let more = if number > 1 { format!(" (and {} more proxies)", number - 1) } else { String::new() };
    Some(format!("node {}: {}{more}", first.node, first.status.unsupported_text))
}

/// Returns the condition of an object that has no served version.
pub(super) fn nothing_served(verdict: &crate::verdict::Verdict) -> Verdict {
    if !verdict.missing.is_empty() {
        let message = format!("nothing is opened: {}", verdict.missing.join("; "));
        return condition(Reason::RefNotFound, message, verdict.generation);
    }
    let why = verdict.rejection.as_ref().map_or("it is not accepted", |rejection| &rejection.message);
    let message = format!("no version of it is served, and what runs an earlier one keeps it: {why}");
    condition(Reason::Invalid, message, verdict.generation)
}

fn condition(reason: Reason, message: String, generation: i64) -> Verdict {
    Verdict {
        type_: ConditionType::Programmed,
        status: (reason == Reason::Programmed).into(),
        reason,
        message,
        generation: Some(generation),
    }
}

// === impl Tally ===

impl Tally {
    /// Counts a node's report. A report on another version only tells how many proxies have to confirm this one.
    fn hear(&mut self, report: &PlanReport, served: &Served, waited: Duration) {
        let status = &report.status;
        self.without_proxy += status.without_proxy;
        if status.version != served.version {
            if report.reachable || waited < PATIENCE {
                self.wanted += status.wanted;
                self.silent += u32::from(status.wanted > 0 || served.nodes.contains(&report.node));
            } else if served.nodes.contains(&report.node) {
                self.wanted += status.wanted.max(1);
                self.unreachable += status.wanted.max(1);
                self.lose(&report.node);
            }
            return;
        }
        self.wanted += status.wanted;
        self.acked += status.acked;
        self.nacked += status.nacked;
        self.unsupported += status.unsupported;
        self.unreachable += status.unreachable;
        if status.unreachable > 0 {
            self.lose(&report.node);
        }
        let rejects = status.nacked > status.unsupported;
        if rejects && self.refusal.is_none() {
            self.refusal = Some(format!("node {}: {}", report.node, status.refusal));
        }
        if status.unsupported > 0 && self.lack.is_none() {
            self.lack = Some(format!("node {}: {}", report.node, status.unsupported_text));
        }
        if let (Some(lost), None) = (status.conflicts.first(), &self.conflict) {
            self.conflict = Some(format!("node {}: {lost}", report.node));
        }
    }

    /// Counts the nodes that never reported on the Plan. Their numbers of proxies are not known. There may be thousands, so
    /// they are visited only for the first names.
    fn miss_others(&mut self, served: &Served, reports: &[PlanReport], waited: Duration) {
        let heard: HashSet<_> = reports.iter().map(|report| &report.node).collect();
        let known = heard.iter().filter(|node| served.nodes.contains(**node)).count();
        let missing = served.nodes.len() - known;
        if waited < PATIENCE {
            self.silent += missing as u32;
            return;
        }
        self.wanted += missing as u32;
        self.unreachable += missing as u32;
        let names = served.nodes.iter().filter(|node| !heard.contains(node)).map(ToString::to_string);
        self.lost_names.extend(names.take(MOST.saturating_sub(self.lost).min(missing)));
        self.lost += missing;
    }

    /// Counts a node that has not answered in time.
    fn lose(&mut self, node: &str) {
        if self.lost < MOST {
            self.lost_names.push(node.to_owned());
        }
        self.lost += 1;
    }

    /// Returns the most important reason, and its message.
    fn judge(&self, served: &Served) -> (Reason, Option<String>) {
        let lost = || Some(format!("not reached on {}", some(&self.lost_names, self.lost)));
        let answered = self.acked + self.nacked + self.unreachable;
        if self.nacked > self.unsupported {
            return (Reason::Nacked, self.refusal.clone());
        }
        if self.unsupported > 0 {
            return (Reason::UnsupportedByProxy, self.lack.clone());
        }
        if self.conflict.is_some() {
            return (Reason::PortConflict, self.conflict.clone());
        }
        match (self.unreachable > 0, self.silent > 0 || answered < self.wanted, self.wanted == 0) {
            (true, ..) => (Reason::Unreachable, lost()),
            (_, true, _) => (Reason::Pending, None),
            (.., true) => (Reason::NoProxy, Some(no_proxy(served))),
            _ => (Reason::Programmed, None),
        }
    }

    fn counts(&self) -> String {
        let mut text = format!("wanted {}, acked {}", self.wanted, self.acked);
        for (count, word) in [
            (self.nacked, "refused"),
            (self.unreachable, "unreachable"),
            (self.without_proxy, "pods without a proxy"),
        ] {
            if count > 0 {
                text = format!("{text}, {word} {count}");
            }
        }
        text
    }
}

/// Returns why no proxy serves a Plan.
fn no_proxy(served: &Served) -> String {
    if !served.closed.is_empty() {
        let names: Vec<String> = served.closed.iter().take(MOST).map(ToString::to_string).collect();
        return format!(
            "no proxy serves it: it matches NodeProxy {}, whose allowedNamespaces leave its namespace out; change them, or \
             the labels of the namespace",
            some(&names, served.closed.len())
        );
    }
    match &served.proxy_name {
        Some(name) => format!(
            "no proxy serves it: no connected Envoy of a pod in its namespace has the node.id {name:?}, and no NodeProxy on \
             a node has the proxyName {name:?}"
        ),
        None => {
            "no proxy serves it: its selector matches no NodeProxy on a node, and no pod with a proxy".into()
        }
    }
}

/// Returns a text with the first of so many names and the number of the others.
fn some(first: &[String], all: usize) -> String {
    let shown = first.join(", ");
    match all.saturating_sub(first.len()) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
