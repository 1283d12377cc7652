//! The state that the agents of all nodes reported ([`LatestReports`]): their verdicts, the time of each node's last report, and
//! the statuses of their Plans.
//!
//! This module is pure: the clock is passed in. Of a node's verdicts, those with the highest (epoch, sequence) win,
//! whatever stream they came on. A node whose verdicts aren't renewed for [`LEASE`] is stale: its verdicts still apply,
//! but are not fresh. The lease is longer while this hub itself is late. A node that never reported has no Health
//! resource, which tells agents to keep their current state.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_api::model::ProxyKind;
use portreeve_api::plan::{Health, Unhealthy};
use portreeve_api::report::{Hello, PlanStatus, Report, Unknown, Verdicts};
use portreeve_api::report_bounds as bounds;

use super::lateness::Lateness;
use super::statuses::{self, Statuses};
use crate::index::Name;
use crate::node_health::NodeHealth;
use crate::status::PlanReport;

/// A node without a report for this long is stale. Agents report twice as often.
pub const LEASE: Duration = Duration::from_secs(1);

/// Maximum interval between two checks of the leases.
pub const LOOK: Duration = Duration::from_millis(250);

/// How long a silent node is remembered before the hub checks whether the node still exists.
pub const MEMORY: Duration = Duration::from_secs(600);

/// Maximum number of nodes. The feed accepts no more streams either.
const NODES: usize = 20_000;

/// Maximum number of streams of one node: an agent, its successor, and leftovers of broken connections.
const STREAMS: usize = 8;

/// The latest reports of all nodes.
#[derive(Default)]
pub struct LatestReports {
    nodes: HashMap<Name, Node>,
    /// The status of each Plan on each node.
    pub statuses: Statuses,
    /// Every node once, with the time of its next check.
    due: BTreeSet<(Instant, Name)>,
    /// Time of the last check.
    looked: Option<Instant>,
    /// How late the checks are.
    lateness: Lateness,
    /// Silence before this time is ignored, because this process wasn't listening.
    deaf_until: Option<Instant>,
    streams: u64,
}

/// One stream of reports.
#[derive(Debug)]
pub struct Attached {
    /// The node of the agent.
    pub node: Name,
    id: u64,
    /// The epoch of the verdicts received on this stream.
    epoch: Option<u64>,
    /// Plans named by the stream's first reports, until a report without `more` ends the list.
    naming: Option<BTreeSet<String>>,
    /// Whether Plan statuses on this stream were ignored because a newer stream existed.
    passed_over: bool,
}

struct Node {
    verdicts: Option<NodeVerdicts>,
    /// Time of the last report on any stream.
    heard: Instant,
    silent: bool,
    /// The kinds of proxies that the newest agent runs under keepers; none for an agent that tells none.
    programs: Vec<String>,
    /// The open streams. Only the newest one's Plan statuses are used.
    streams: BTreeSet<u64>,
    due: Instant,
}

/// The latest verdicts of a node.
struct NodeVerdicts {
    epoch: u64,
    sequence: u64,
    unhealthy: Vec<Unhealthy>,
    /// Checks that these verdicts don't cover.
    unknown: Unknown,
    /// Time of the last report on a stream with this epoch.
    renewed: Instant,
    stale: bool,
}

// === impl LatestReports ===

impl LatestReports {
    /// Opens a stream with its first report, which was already validated.
    ///
    /// # Errors
    /// Returns a message if there are too many streams of this node, or too many nodes.
    pub fn attach(&mut self, hello: &Hello, now: Instant) -> Result<Attached, String> {
        let node = hello.node.as_str();
        let full = self.nodes.len() >= NODES;
        let name = Name::from(node);
        if full && !self.nodes.contains_key(&name) {
            return Err(format!("node {node}: this hub already has {NODES} nodes and accepts no more"));
        }
        let due = now + LEASE;
        let entry = self.nodes.entry(name.clone()).or_insert_with(|| {
            self.due.insert((due, name.clone()));
            let streams = BTreeSet::new();
            Node { verdicts: None, heard: now, silent: false, programs: Vec::new(), streams, due }
        });
        if entry.streams.len() >= STREAMS {
            return Err(format!("node {node} has {STREAMS} streams already: stop some of its agents"));
        }
        self.streams += 1;
        entry.programs.clone_from(&hello.programs);
        entry.streams.insert(self.streams);
        Ok(Attached { node: name, id: self.streams, epoch: None, naming: None, passed_over: false })
    }

    /// Closes a stream. Its reported state stays.
    pub fn detach(&mut self, stream: &Attached) {
        if let Some(node) = self.nodes.get_mut(&stream.node) {
            node.streams.remove(&stream.id);
        }
    }

    /// Applies one report, and returns the change of its node's Health, if any. `first` tells whether it is the first
    /// report of its stream and so lists all Plans.
    ///
    /// # Errors
    /// Returns a message if the report exceeds a limit. Nothing of it is applied.
    pub fn take(
        &mut self,
        stream: &mut Attached,
        report: Report,
        first: bool,
        now: Instant,
    ) -> Result<Option<NodeHealth>, String> {
        let Some(node) = self.nodes.get_mut(&stream.node) else {
            return Err(format!("node {} was forgotten: reconnect and report again", stream.node));
        };
        if first {
            stream.naming = Some(BTreeSet::new());
        }
        let newest = node.streams.last() == Some(&stream.id);
        let speaks = first || !report.plans.is_empty() || !report.plans_gone.is_empty();
        if newest && stream.passed_over {
            return Err(format!(
                "node {}: a newer stream has reported in the meantime: reconnect and report again",
                stream.node
            ));
        }
        stream.passed_over |= speaks && !newest;
        if newest {
            let part =
                statuses::PlanStatuses { plans: report.plans, gone: report.plans_gone, more: report.more };
            self.statuses.take(&stream.node, part, &mut stream.naming, now)?;
        }
        node.heard = now.max(node.heard);
        if std::mem::replace(&mut node.silent, false) {
            self.statuses.touch(&stream.node, now);
            self.due.remove(&(node.due, stream.node.clone()));
            node.due = now + LEASE;
            self.due.insert((node.due, stream.node.clone()));
        }
        stream.epoch = report.verdicts.as_ref().map(|verdicts| verdicts.epoch).or(stream.epoch);
        let unknown = report.unknown.unwrap_or_default();
        let newer = report.verdicts.is_some_and(|verdicts| node.hear(verdicts, unknown, now));
        let fresh = stream.epoch.is_some_and(|epoch| node.renew(epoch, now));
        Ok((newer || fresh)
            .then(|| NodeHealth { health: node.health(&stream.node), node: stream.node.clone() }))
    }

    /// Returns whether no later stream of the same node was opened.
    pub fn is_newest(&self, stream: &Attached) -> bool {
        self.nodes.get(&stream.node).is_some_and(|node| node.streams.last() == Some(&stream.id))
    }

    /// Returns the latest epoch of a node's verdicts, or 0 if none is known.
    pub fn epoch_of(&self, node: &Name) -> u64 {
        self.nodes.get(node).and_then(|node| node.verdicts.as_ref()).map_or(0, |verdicts| verdicts.epoch)
    }

    /// Returns the number of nodes with a valid lease, and of silent nodes.
    pub fn count(&self) -> (usize, usize) {
        let silent = self.nodes.values().filter(|node| node.silent).count();
        (self.nodes.len() - silent, silent)
    }

    /// Returns the number of streams.
    pub fn streams(&self) -> usize {
        self.nodes.values().map(|node| node.streams.len()).sum()
    }

    /// Returns the time of a node's last report, and whether its lease is valid.
    pub fn heard(&self, node: &Name) -> Option<(Instant, bool)> {
        self.nodes.get(node).map(|node| (node.heard, !node.silent))
    }

    /// Returns the last report on a Plan from every node.
    pub fn statuses_of(&self, plan: &str) -> Vec<PlanReport> {
        let report = |(node, status): (&Name, &Arc<PlanStatus>)| {
            let (_, reachable) = self.heard(node)?;
            Some(PlanReport { node: node.clone(), status: status.clone(), reachable })
        };
        self.statuses.of(plan).filter_map(report).collect()
    }

    /// Returns whether a node's agent is known to run no proxies of this kind under keepers.
    pub fn lacks(&self, node: &Name, kind: ProxyKind) -> bool {
        let runs = |node: &Node| {
            kind == ProxyKind::Envoy || node.programs.iter().any(|program| program == kind.word())
        };
        self.nodes.get(node).is_some_and(|node| !node.silent && !runs(node))
    }

    /// Advances the time: finds nodes whose lease has expired, and forgets nodes that were silent for long and don't
    /// exist any more (`exists`).
    pub fn lapse(&mut self, now: Instant, exists: impl Fn(&Name) -> bool) -> Vec<NodeHealth> {
        // If the check is late, reports may be waiting unread. Agents then get a whole lease from now.
        let gap = self.looked.map_or(Duration::ZERO, |looked| now.saturating_duration_since(looked));
        if gap > LEASE {
            self.deaf_until = Some(now);
        }
        self.lateness.looked(now, gap.saturating_sub(LOOK));
        self.looked = Some(now);
        let patience = Patience { deaf_until: self.deaf_until, stretch: self.lateness.stretch() };
        let mut news = Vec::new();
        while let Some((_, name)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.due.pop_first();
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            let lapsed = node.lapse(now, patience);
            if lapsed.silent {
                self.statuses.touch(&name, now);
            }
            if lapsed.stale {
                news.push(NodeHealth { node: name.clone(), health: node.health(&name) });
            }
            match node.streams.is_empty() && now.duration_since(node.heard) >= MEMORY && !exists(&name) {
                true => news.extend(self.forget(&name, now)),
                false => {
                    self.due.insert((node.due, name));
                }
            }
        }
        news
    }

    /// Returns how much longer than [`LEASE`] leases are at present, because this hub is late.
    pub fn stretch(&self) -> Duration {
        self.lateness.stretch()
    }

    /// A node's Health as it is now.
    pub fn news_of(&self, name: Name) -> NodeHealth {
        let health = self.nodes.get(&name).and_then(|node| node.health(&name));
        NodeHealth { node: name, health }
    }

    /// Returns when [`LatestReports::lapse`] must be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn forget(&mut self, name: &Name, now: Instant) -> Option<NodeHealth> {
        self.statuses.forget(name, now);
        let node = self.nodes.remove(name)?;
        node.verdicts.map(|_| NodeHealth { node: name.clone(), health: None })
    }
}

/// The extra time that leases get.
#[derive(Clone, Copy)]
struct Patience {
    deaf_until: Option<Instant>,
    stretch: Duration,
}

/// The expired parts of a node's state.
struct Lapsed {
    silent: bool,
    stale: bool,
}

// === impl Node ===

impl Node {
    /// Applies verdicts if they are newer than the known ones. Returns whether they are.
    fn hear(&mut self, new: Verdicts, unknown: Unknown, now: Instant) -> bool {
        let known = self.verdicts.as_ref().map(|known| (known.epoch, known.sequence));
        if known.is_some_and(|known| known >= (new.epoch, new.sequence)) {
            return false;
        }
        let mut unhealthy = new.unhealthy;
        // A restarted agent doesn't know its earlier results. For checks that it lists as unknown, the last known
        // result is kept.
        let listed: HashSet<_> = unknown.checks.iter().map(|c| (&*c.uid, c.port, &*c.http_path)).collect();
        let is_unknown =
            |one: &Unhealthy| unknown.more || listed.contains(&(&*one.uid, one.port, &*one.http_path));
        let before = self.verdicts.take().into_iter().flat_map(|before| before.unhealthy);
        unhealthy.extend(before.filter(is_unknown));
        // The sort is stable: new entries come before kept ones.
        unhealthy.sort_by_key(key);
        unhealthy.dedup_by_key(|one| key(one));
        unhealthy.truncate(2 * bounds::UNHEALTHY);
        let (epoch, sequence) = (new.epoch, new.sequence);
        self.verdicts =
            Some(NodeVerdicts { epoch, sequence, unhealthy, unknown, renewed: now, stale: false });
        true
    }

    /// Renews the verdicts of `epoch`. Returns whether that ends a staleness. An agent whose successor has already
    /// reported renews nothing.
    fn renew(&mut self, epoch: u64, now: Instant) -> bool {
        let Some(verdicts) = self.verdicts.as_mut().filter(|verdicts| verdicts.epoch == epoch) else {
            return false;
        };
        verdicts.renewed = now.max(verdicts.renewed);
        std::mem::replace(&mut verdicts.stale, false)
    }

    fn lapse(&mut self, now: Instant, patience: Patience) -> Lapsed {
        let Patience { deaf_until, stretch } = patience;
        let end = |since: Instant| deaf_until.map_or(since, |deaf| since.max(deaf)) + LEASE + stretch;
        let over = |since: Instant| end(since) <= now;
        let silent = over(self.heard) && !std::mem::replace(&mut self.silent, over(self.heard));
        let verdicts = self.verdicts.as_mut();
        let renewed = verdicts.as_ref().map(|verdicts| verdicts.renewed);
        let stale = verdicts
            .is_some_and(|verdicts| over(verdicts.renewed) && !std::mem::replace(&mut verdicts.stale, true));
        // Parts that have expired need no further check until the node is forgotten.
        let ends = [Some(self.heard), renewed].into_iter().flatten().map(end).filter(|end| *end > now);
        let due = ends.min();
        // Extended leases are checked again soon, because they end earlier if this hub catches up.
        let soon = due.filter(|_| !stretch.is_zero()).map(|due| due.min(now + LOOK));
        self.due = soon.or(due).unwrap_or(now + MEMORY);
        Lapsed { silent, stale }
    }

    fn health(&self, node: &Name) -> Option<Health> {
        let verdicts = self.verdicts.as_ref()?;
        Some(Health {
            node: node.to_string(),
            epoch: verdicts.epoch,
            sequence: verdicts.sequence,
            unhealthy: verdicts.unhealthy.clone(),
            stale: verdicts.stale,
            unknown: verdicts.unknown.checks.clone(),
            more_unknown: verdicts.unknown.more,
        })
    }
}

fn key(one: &Unhealthy) -> (String, u32, String) {
    (one.uid.clone(), one.port, one.http_path.clone())
}
