//! What the agents of all nodes said ([`Book`]): their verdicts, when each was heard, and their Plans' statuses.
//!
//! Pure: the clock is passed in. The newest verdicts win by (epoch, sequence), whatever stream they came by. A node whose
//! verdicts nobody renews for [`LEASE`], or longer while this hub is late itself, is stale: what it said stands, but is not fresh. A node that never said anything
//! has no Health at all, and its absence means: keep what you had.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use portreeve_api::plan::{Health, Unhealthy};
use portreeve_api::report::{Report, Unknown, Verdicts};
use portreeve_api::report_bounds as bounds;

use super::lateness::Lateness;
use super::statuses::{self, Statuses};
use crate::index::Name;
use crate::node_health::NodeHealth;

/// A node that is unheard for this long is stale. Agents report twice as often.
pub const LEASE: Duration = Duration::from_secs(1);

/// How often the leases are looked at at least.
pub const LOOK: Duration = Duration::from_millis(250);

/// How long a silent node is remembered before it is asked whether there is still such a node.
pub const MEMORY: Duration = Duration::from_secs(600);

/// Nodes at most; the feed serves no more streams either.
const NODES: usize = 20_000;

/// Streams of one node at a time: an agent and its successor, and what is left of broken connections.
const STREAMS: usize = 8;

/// All that was reported.
#[derive(Default)]
pub struct Book {
    nodes: HashMap<Name, Node>,
    /// How far each Plan is on each node.
    pub statuses: Statuses,
    /// Each node once, under the time at which it has to be looked at.
    due: BTreeSet<(Instant, Name)>,
    /// When time was last looked at.
    looked: Option<Instant>,
    /// How late the looks come.
    lateness: Lateness,
    /// No silence before this counts: this process did not listen.
    deaf_until: Option<Instant>,
    streams: u64,
}

/// One stream of reports.
#[derive(Debug)]
pub struct Attached {
    /// Whose it is.
    pub node: Name,
    id: u64,
    /// The epoch of the verdicts that it brought.
    epoch: Option<u64>,
    /// Plans that its first reports named, until one has no continuation.
    naming: Option<BTreeSet<String>>,
    /// Something that it said of Plans did not count, because there was a newer stream.
    passed_over: bool,
}

struct Node {
    said: Option<Said>,
    /// When any stream of it was last heard.
    heard: Instant,
    silent: bool,
    /// Those that are open. The newest one's word on Plans counts.
    streams: BTreeSet<u64>,
    due: Instant,
}

struct Said {
    epoch: u64,
    sequence: u64,
    unhealthy: Vec<Unhealthy>,
    /// What these verdicts do not vouch for.
    unknown: Unknown,
    /// When a stream of this epoch was last heard.
    renewed: Instant,
    stale: bool,
}

// === impl Book ===

impl Book {
    /// Opens a stream by its first report, which was found to be in order.
    ///
    /// # Errors
    /// In words: there are too many streams of this node, or too many nodes.
    pub fn attach(&mut self, node: &str, now: Instant) -> Result<Attached, String> {
        let full = self.nodes.len() >= NODES;
        let name = Name::from(node);
        if full && !self.nodes.contains_key(&name) {
            return Err(format!("node {node}: this hub hears {NODES} nodes already and takes no more"));
        }
        let due = now + LEASE;
        let entry = self.nodes.entry(name.clone()).or_insert_with(|| {
            self.due.insert((due, name.clone()));
            Node { said: None, heard: now, silent: false, streams: BTreeSet::new(), due }
        });
        if entry.streams.len() >= STREAMS {
            return Err(format!("node {node} has {STREAMS} streams already: end some of its agents"));
        }
        self.streams += 1;
        entry.streams.insert(self.streams);
        Ok(Attached { node: name, id: self.streams, epoch: None, naming: None, passed_over: false })
    }

    /// A stream ended. What it said stays.
    pub fn detach(&mut self, stream: &Attached) {
        if let Some(node) = self.nodes.get_mut(&stream.node) {
            node.streams.remove(&stream.id);
        }
    }

    /// Takes one report in; answers with what is news of its node's Health. `first`: of its stream, so that it names all
    /// Plans.
    ///
    /// # Errors
    /// In words: it is too much. Nothing of it was taken in.
    pub fn take(
        &mut self,
        stream: &mut Attached,
        report: Report,
        first: bool,
        now: Instant,
    ) -> Result<Option<NodeHealth>, String> {
        let Some(node) = self.nodes.get_mut(&stream.node) else {
            return Err(format!("node {} was forgotten: report anew", stream.node));
        };
        if first {
            stream.naming = Some(BTreeSet::new());
        }
        let newest = node.streams.last() == Some(&stream.id);
        let speaks = first || !report.plans.is_empty() || !report.plans_gone.is_empty();
        if newest && stream.passed_over {
            return Err(format!("node {}: another stream spoke for it meanwhile: report anew", stream.node));
        }
        stream.passed_over |= speaks && !newest;
        if newest {
            let said = statuses::Said { plans: report.plans, gone: report.plans_gone, more: report.more };
            self.statuses.take(&stream.node, said, &mut stream.naming, now)?;
        }
        node.heard = now.max(node.heard);
        if std::mem::replace(&mut node.silent, false) {
            self.statuses.touch(&stream.node, now);
            self.due.remove(&(node.due, stream.node.clone()));
            node.due = now + LEASE;
            self.due.insert((node.due, stream.node.clone()));
        }
        stream.epoch = report.verdicts.as_ref().map(|said| said.epoch).or(stream.epoch);
        let unknown = report.unknown.unwrap_or_default();
        let newer = report.verdicts.is_some_and(|said| node.hear(said, unknown, now));
        let fresh = stream.epoch.is_some_and(|epoch| node.renew(epoch, now));
        Ok((newer || fresh)
            .then(|| NodeHealth { health: node.health(&stream.node), node: stream.node.clone() }))
    }

    /// The latest epoch of a node's verdicts; 0: none is known.
    pub fn epoch_of(&self, node: &Name) -> u64 {
        self.nodes.get(node).and_then(|node| node.said.as_ref()).map_or(0, |said| said.epoch)
    }

    /// How many nodes are heard, and how many are silent.
    pub fn count(&self) -> (usize, usize) {
        let silent = self.nodes.values().filter(|node| node.silent).count();
        (self.nodes.len() - silent, silent)
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.nodes.values().map(|node| node.streams.len()).sum()
    }

    /// When a node was last heard, and whether that is within its lease.
    pub fn heard(&self, node: &Name) -> Option<(Instant, bool)> {
        self.nodes.get(node).map(|node| (node.heard, !node.silent))
    }

    /// Lets time pass: finds the nodes whose lease is over, and forgets those that were silent for long and are not
    /// there any more (`exists`).
    pub fn lapse(&mut self, now: Instant, exists: impl Fn(&Name) -> bool) -> Vec<NodeHealth> {
        // Who did not look at the time did not listen either: agents get a whole lease to be heard.
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

    /// By how much leases are longer now than [`LEASE`], because this hub is late.
    pub fn stretch(&self) -> Duration {
        self.lateness.stretch()
    }

    /// A node's Health as it is now.
    pub fn news_of(&self, name: Name) -> NodeHealth {
        let health = self.nodes.get(&name).and_then(|node| node.health(&name));
        NodeHealth { node: name, health }
    }

    /// When [`Book::lapse`] has something to do next.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn forget(&mut self, name: &Name, now: Instant) -> Option<NodeHealth> {
        self.statuses.forget(name, now);
        let node = self.nodes.remove(name)?;
        node.said.map(|_| NodeHealth { node: name.clone(), health: None })
    }
}

/// What a lease has to allow for.
#[derive(Clone, Copy)]
struct Patience {
    deaf_until: Option<Instant>,
    stretch: Duration,
}

/// What of a node ran out.
struct Lapsed {
    silent: bool,
    stale: bool,
}

// === impl Node ===

impl Node {
    /// Takes verdicts that are newer than what is known; answers whether they are.
    fn hear(&mut self, said: Verdicts, unknown: Unknown, now: Instant) -> bool {
        let known = self.said.as_ref().map(|known| (known.epoch, known.sequence));
        if known.is_some_and(|known| known >= (said.epoch, said.sequence)) {
            return false;
        }
        let mut unhealthy = said.unhealthy;
        // An agent that has just started does not know what it said before: the last known word on a check stands.
        let listed: HashSet<_> = unknown.checks.iter().map(|c| (&*c.uid, c.port, &*c.http_path)).collect();
        let is_unknown =
            |one: &Unhealthy| unknown.more || listed.contains(&(&*one.uid, one.port, &*one.http_path));
        let before = self.said.take().into_iter().flat_map(|before| before.unhealthy);
        unhealthy.extend(before.filter(is_unknown));
        // Stable: what is said now comes before what was said.
        unhealthy.sort_by_key(key);
        unhealthy.dedup_by_key(|one| key(one));
        unhealthy.truncate(2 * bounds::UNHEALTHY);
        let (epoch, sequence) = (said.epoch, said.sequence);
        self.said = Some(Said { epoch, sequence, unhealthy, unknown, renewed: now, stale: false });
        true
    }

    /// A stream with verdicts of `epoch` was heard; answers whether that ends a staleness. An agent whose successor has
    /// spoken renews nothing.
    fn renew(&mut self, epoch: u64, now: Instant) -> bool {
        let Some(said) = self.said.as_mut().filter(|said| said.epoch == epoch) else { return false };
        said.renewed = now.max(said.renewed);
        std::mem::replace(&mut said.stale, false)
    }

    fn lapse(&mut self, now: Instant, patience: Patience) -> Lapsed {
        let Patience { deaf_until, stretch } = patience;
        let end = |since: Instant| deaf_until.map_or(since, |deaf| since.max(deaf)) + LEASE + stretch;
        let over = |since: Instant| end(since) <= now;
        let silent = over(self.heard) && !std::mem::replace(&mut self.silent, over(self.heard));
        let said = self.said.as_mut();
        let renewed = said.as_ref().map(|said| said.renewed);
        let stale = said.is_some_and(|said| over(said.renewed) && !std::mem::replace(&mut said.stale, true));
        // What is over already needs no further look, until the memory fades.
        let ends = [Some(self.heard), renewed].into_iter().flatten().map(end).filter(|end| *end > now);
        let due = ends.min();
        // A stretched lease is looked at again soon: it ends earlier if this hub keeps up again.
        let soon = due.filter(|_| !stretch.is_zero()).map(|due| due.min(now + LOOK));
        self.due = soon.or(due).unwrap_or(now + MEMORY);
        Lapsed { silent, stale }
    }

    fn health(&self, node: &Name) -> Option<Health> {
        let said = self.said.as_ref()?;
        Some(Health {
            node: node.to_string(),
            epoch: said.epoch,
            sequence: said.sequence,
            unhealthy: said.unhealthy.clone(),
            stale: said.stale,
            unknown: said.unknown.checks.clone(),
            more_unknown: said.unknown.more,
        })
    }
}

fn key(one: &Unhealthy) -> (String, u32, String) {
    (one.uid.clone(), one.port, one.http_path.clone())
}
