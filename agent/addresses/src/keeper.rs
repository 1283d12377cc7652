//! Keeps the addresses of this node on its interfaces: [`Keeper`].
//!
//! Its loop adds, removes and announces addresses. It never waits for the API server or for another machine: probes and claims
//! are background work ([`crate::work`], [`crate::jobs`]) whose results it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use portreeve_runtime::Shutdown;
use tokio::time::MissedTickBehavior;

use crate::jobs::{Done, Jobs};
use crate::judge::Verdict;
use crate::leases::Leases;
use crate::links::{Interface, Links};
use crate::problems::{Problems, Subject, What};
use crate::work::{AT_ONCE, Probed, Work};

/// How often the state is looked at, also without any news.
const LOOK: Duration = Duration::from_millis(100);

/// When an address is announced after it came, and how often after that.
const ROUNDS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(600)];
const AGAIN: Duration = Duration::from_secs(10);

/// Timeout for giving up all claims at the end. The others end with the node's Lease.
const LEAVE: Duration = Duration::from_secs(3);

/// An address on an interface.
struct Held {
    interface: Interface,
    /// When it came.
    since: Instant,
    /// How often it was announced.
    rounds: usize,
    announced: Instant,
}

/// Holds addresses until the shutdown.
pub struct Keeper {
    leases: Arc<Leases>,
    links: Links,
    file: PathBuf,
    /// The addresses of the file, as read last.
    wanted: BTreeSet<IpAddr>,
    held: BTreeMap<IpAddr, Held>,
    /// Addresses of other nodes that were taken off this node's interfaces, where a process before this one may have left them.
    cleared: BTreeSet<IpAddr>,
    work: Work,
    jobs: Jobs,
    problems: Problems,
}

// === impl Keeper ===

impl Keeper {
    /// Creates a keeper of the addresses in a file. Its loop and its jobs have a connection each, so that the loop doesn't wait
    /// for theirs.
    pub fn new(leases: Arc<Leases>, [links, of_jobs]: [Links; 2], file: PathBuf) -> Self {
        Self {
            jobs: Jobs::new(of_jobs, leases.clone()),
            leases,
            links,
            file,
            wanted: BTreeSet::new(),
            held: BTreeMap::new(),
            cleared: BTreeSet::new(),
            work: Work::default(),
            problems: Problems::default(),
        }
    }

    /// Keeps the addresses until the shutdown.
    ///
    /// # Errors
    /// Returns an error if a job panicked.
    pub async fn keep(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let (seen, mut look) = (self.leases.seen(), tokio::time::interval(LOOK));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.wait() => return Ok(()),
                done = self.jobs.next() => self.take(done?),
                () = seen.changed.notified() => {}
                _ = look.tick() => {}
            }
            while let Some(done) = self.jobs.ended()? {
                self.take(done);
            }
            self.read();
            let (verdict, versions) = seen.judge(&self.wanted);
            self.forget(&verdict);
            let off = self.clear(&verdict).await;
            for address in &verdict.hold {
                if !self.held.contains_key(address) && !self.work.is_giving(*address) {
                    self.add(*address).await;
                }
            }
            self.announce(&verdict.hold).await;
            for job in self.work.begin(&verdict.take, &off, Instant::now()) {
                self.jobs.start(job, &versions);
            }
        }
    }

    /// Takes the result of a job. An address that was claimed is added once the judge says that it is this node's.
    fn take(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Probed(results) => {
                self.work.end_probe(&results, now);
                results.into_iter().for_each(|(address, result)| self.tell_probed(address, &result));
            }
            Done::Claimed(address, claimed) => {
                self.work.end_request(address, matches!(claimed, Ok(true)), now);
                self.tell((Some(address), What::Claim), claimed, &format!("{address} can't be claimed"));
            }
            Done::Given(address, given) => {
                self.work.end_request(address, matches!(given, Ok(true)), now);
                let what = format!("the claim of {address} can't be given up");
                self.tell((Some(address), What::Give), given, &what);
            }
        }
    }

    /// Reads the file. While the agent can't be asked, the addresses that are known stay wanted.
    fn read(&mut self) {
        let read = std::fs::read(&self.file).map_err(anyhow::Error::from);
        let parsed = read.and_then(|text| Ok(serde_json::from_slice(&text)?));
        let what = format!("the addresses stay as they are: {}", self.file.display());
        if let Some(wanted) = self.tell((None, What::File), parsed, &what) {
            self.wanted = wanted;
        }
    }

    /// Forgets what concerns addresses that this node neither has nor should take.
    fn forget(&mut self, verdict: &Verdict) {
        let Verdict { hold, take, give, is_known } = verdict;
        // While the news aren't fresh, nothing is to be taken, and what was known about an address still counts.
        let in_work = |address: &IpAddr| {
            take.contains(address) || give.contains(address) || (!is_known && self.wanted.contains(address))
        };
        self.work.retain(|address| in_work(&address));
        let (held, wanted) = (&self.held, &self.wanted);
        self.problems.retain(|address, what| match what {
            What::File => true,
            What::Probe | What::Claim | What::Give => in_work(&address),
            What::Add => hold.contains(&address),
            What::Remove => {
                held.contains_key(&address) || wanted.contains(&address) || give.contains(&address)
            }
            What::Announce => held.contains_key(&address),
        });
        self.cleared.retain(|address| wanted.contains(address) && !hold.contains(address));
    }

    /// Takes off the interfaces what isn't this node's. Returns the addresses that are off and whose claims can be given up.
    async fn clear(&mut self, verdict: &Verdict) -> BTreeSet<IpAddr> {
        let Verdict { hold, give, is_known, .. } = verdict;
        let gone: Vec<IpAddr> = self.held.keys().filter(|address| !hold.contains(address)).copied().collect();
        for address in gone {
            self.remove(address).await;
        }
        if *is_known {
            let foreign = self.wanted.iter().filter(|address| !hold.contains(address)).copied();
            let foreign: Vec<IpAddr> = foreign.filter(|address| !self.cleared.contains(address)).collect();
            for address in foreign {
                if self.remove(address).await {
                    self.cleared.insert(address);
                }
            }
        }
        let mut off = BTreeSet::new();
        for address in give {
            // An earlier process may have left it on an interface.
            if self.work.may_give(*address, Instant::now()) && self.remove(*address).await {
                off.insert(*address);
            }
        }
        off
    }

    async fn add(&mut self, address: IpAddr) {
        let added = async {
            let interface = self.links.interface_for(address).await?;
            self.links.add(&interface, address).await?;
            anyhow::Ok(interface)
        };
        let (added, what) = (added.await, format!("{address} can't be put on an interface"));
        if let Some(interface) = self.tell((Some(address), What::Add), added, &what) {
            tracing::info!(%address, interface = interface.name, "the address is on this node");
            let now = Instant::now();
            self.held.insert(address, Held { interface, since: now, rounds: 0, announced: now });
        }
    }

    /// Takes an address off its interface. Returns whether that succeeded.
    async fn remove(&mut self, address: IpAddr) -> bool {
        let (removed, what) =
            (self.links.remove(address).await, format!("{address} can't be taken off its interface"));
        let is_off = self.tell((Some(address), What::Remove), removed, &what).is_some();
        if is_off && self.held.remove(&address).is_some() {
            tracing::info!(%address, "the address left this node");
        }
        is_off
    }

    /// Announces those of these addresses that are due.
    async fn announce(&mut self, hold: &BTreeSet<IpAddr>) {
        let now = Instant::now();
        let mut announced = Vec::new();
        for (address, held) in &mut self.held {
            let due = match ROUNDS.get(held.rounds) {
                Some(after) => held.since + *after,
                None => held.announced + AGAIN,
            };
            if now < due || !hold.contains(address) {
                continue;
            }
            (held.rounds, held.announced) = (held.rounds + 1, now);
            announced.push((*address, self.links.announce(&held.interface, *address).await));
        }
        for (address, result) in announced {
            self.tell((Some(address), What::Announce), result, &format!("{address} can't be announced"));
        }
    }

    /// Leaves the addresses to other nodes.
    pub async fn leave(&mut self) {
        self.jobs.cancel().await;
        let held: Vec<IpAddr> = self.held.keys().copied().collect();
        for address in held {
            self.remove(address).await;
        }
        let (verdict, versions) = self.leases.seen().judge(&BTreeSet::new());
        let off = verdict.give.into_iter().filter(|address| !self.held.contains_key(address));
        let gives = off.filter_map(|address| {
            let (version, leases) = (versions.get(&address)?, &self.leases);
            Some(async move { (address, leases.give(address, version).await) })
        });
        let gives: Vec<_> = gives.collect();
        let gives = stream::iter(gives).buffer_unordered(AT_ONCE).for_each(|(address, given)| {
            if let Err(error) = given {
                tracing::warn!(%address, %error, "the claim can't be given up: it lapses");
            }
            std::future::ready(())
        });
        if tokio::time::timeout(LEAVE, gives).await.is_err() {
            tracing::warn!("not all claims could be given up in time: the others lapse");
        }
        if let Err(error) = self.leases.resign().await {
            tracing::warn!(%error, "this node's Lease can't be deleted: it lapses");
        }
    }

    fn tell_probed(&mut self, address: IpAddr, result: &Probed) {
        let because = match result {
            Probed::Free => return self.problems.ends((Some(address), What::Probe)),
            Probed::Foreign(mac) => {
                let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                format!("the machine with the MAC {mac} has it")
            }
            Probed::Failed(error) => error.clone(),
        };
        self.warn((Some(address), What::Probe), &format!("{address} is not taken: {because}"));
    }

    /// Returns the value. Logs an error when it begins; see [`Problems`].
    fn tell<T>(&mut self, subject: Subject, result: anyhow::Result<T>, what: &str) -> Option<T> {
        match result {
            Ok(value) => {
                self.problems.ends(subject);
                Some(value)
            }
            Err(error) => {
                self.warn(subject, &format!("{what}: {error:#}"));
                None
            }
        }
    }

    fn warn(&mut self, subject: Subject, problem: &str) {
        if self.problems.begins(subject, problem) {
            tracing::warn!("{problem}");
        }
    }
}
