//! Writes conditions. The leading hub writes each object's conditions, and each NodeProxy's number of nodes, in one
//! patch per object, without a read before it. It also annotates objects of some kinds once they are applied, and tells
//! their owners. Entry point: [`Writer::run`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_runtime::{Readiness, Shutdown};
use tokio::sync::watch;

use crate::change::Seen;
use crate::feed::Feed;
use crate::kinds;
use crate::lease::{DURATION, Election, HOLD, by};
use crate::owners::Ledger;
use crate::reports::Desk;
use crate::status::{Board, ObjectStatus, PlanReport, interface, peers};
use crate::subject::{Of, Served};
use crate::subresource::{self, Statusless};

mod annotation;
mod conditions;
mod finalizers;
mod flights;
mod outcomes;
mod owner_kinds;
mod owners;
mod request;
mod stored;

use conditions::Write;
use flights::{Flights, Landed};
use owner_kinds::OwnerKinds;
use stored::Known;

/// How long changes are collected before they are handled, at least.
const GATHER: Duration = Duration::from_millis(10);

/// How long at most. When very many reports on very many objects come in, each handling takes long: then changes are collected for
/// four times as long, so that this takes a fifth of a processor.
const GATHER_LONGEST: Duration = Duration::from_secs(1);

/// How long objects are looked at before other tasks get the thread. An object of five thousand nodes takes most of a
/// millisecond, and there may be thousands of objects.
const SLICE: Duration = Duration::from_millis(2);

/// Number of owners told, or finalizers removed, before the lease is checked again.
const BATCH: usize = 64;

/// Maximum number of concurrent requests for owners and for finalizers. (The board limits those for statuses.)
const AT_ONCE: usize = 4;

/// How long a starting hub doesn't change `Programmed` for missing reports. Agents that reach the hub by a DNS name only find it
/// when they resolve the name again.
const UNHEARD: Duration = Duration::from_secs(15);

/// Timeout for releasing the lease at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Writes conditions while this hub leads.
pub struct Writer {
    client: Client,
    election: Election,
    identity: Arc<str>,
    feed: Arc<Feed>,
    desk: Arc<Desk>,
    board: Board,
    flights: Flights,
    /// Kinds whose objects have no status.
    statusless: Statusless,
    /// The objects as the API server has them.
    known: Known,
    /// What owners are to be told of their children.
    ledger: Ledger,
    owner_kinds: OwnerKinds,
    /// Kinds whose objects the hub may not annotate.
    unannotated: BTreeSet<&'static Kind>,
    /// Objects whose proxies haven't answered yet. Their conditions change with time alone.
    pending: BTreeSet<ObjectRef>,
    /// Objects to look at, and when they changed.
    news: BTreeMap<ObjectRef, Instant>,
    /// What objects were seen with, to be compared once `news` is empty.
    observed: BTreeMap<ObjectRef, Seen>,
    started: Instant,
    /// How long the last handling of changes took.
    spent: Duration,
    /// Time until which this hub may write, according to its last renewal of the lease.
    until: Instant,
    leads: watch::Sender<bool>,
}

// === impl Writer ===

impl Writer {
    /// Creates a writer that is a candidate in an election under `identity`. The election needs a client of its own: of a
    /// shared one, dead idle connections could delay its renewals.
    pub fn new(
        client: Client,
        election: Election,
        identity: String,
        feed: Arc<Feed>,
        desk: Arc<Desk>,
    ) -> Self {
        let started = Instant::now();
        Self {
            election,
            client,
            identity: identity.into(),
            feed,
            desk,
            board: Board::default(),
            flights: Flights::default(),
            statusless: Statusless::default(),
            known: Known::default(),
            ledger: Ledger::default(),
            owner_kinds: OwnerKinds::default(),
            unannotated: BTreeSet::new(),
            pending: BTreeSet::new(),
            news: BTreeMap::new(),
            observed: BTreeMap::new(),
            started,
            spent: Duration::ZERO,
            until: started,
            leads: watch::Sender::new(false),
        }
    }

    /// Returns a receiver that tells whether this hub leads.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// Runs until the shutdown, then releases the lease. While another hub leads, changes are collected: when this hub
    /// takes over, it writes the conditions that differ.
    ///
    /// # Errors
    /// Never returns an error: failures are logged and retried.
    pub async fn run(mut self, readiness: Readiness, shutdown: Shutdown) -> anyhow::Result<()> {
        tokio::select! {
            () = readiness.ready() => self.started = Instant::now(),
            () = shutdown.wait() => return Ok(()),
        }
        let mut leads = false;
        tokio::select! {
            () = self.write_for_ever(&mut leads) => {}
            () = shutdown.wait() => {}
        }
        self.flights.cancel_all();
        if leads {
            // A lease that can't be released expires.
            let _ = tokio::time::timeout(FAREWELL, self.election.release()).await;
        }
        Ok(())
    }

    async fn write_for_ever(&mut self, leads: &mut bool) {
        let mut renewal = tokio::time::interval(DURATION / 5);
        let (feed, mut reports) = (self.feed.clone(), self.desk.changes());
        // Since when changes are being collected, and until when.
        let mut gathering: Option<(Instant, Instant)> = None;
        loop {
            let due = [self.board.deadline(), self.ledger.deadline()];
            let due = due.into_iter().flatten().min().filter(|_| *leads);
            let idle = !self.has_news();
            let gather =
                |woken: Instant| Some((woken, woken + (self.spent * 4).clamp(GATHER, GATHER_LONGEST)));
            tokio::select! {
                // The lease comes first: it must not expire while objects are written.
                biased;
                _ = renewal.tick() => {
                    *leads = self.contend(*leads).await;
                    let now = Instant::now();
                    self.ledger.expire_all(now);
                    for key in std::mem::take(&mut self.pending) {
                        self.news.entry(key).or_insert(now);
                    }
                }
                () = sleep_until(due) => {}
                () = sleep_until(gathering.map(|(_, until)| until)), if idle => {
                    let (woken, _) = gathering.take().unwrap_or((Instant::now(), Instant::now()));
                    self.take_in(woken);
                }
                landed = self.flights.landed() => {
                    self.note(landed);
                    self.write_due(*leads);
                    continue;
                }
                () = tokio::task::yield_now(), if !idle => self.look_for_a_while(),
                () = feed.changed.notified(), if idle && gathering.is_none() => gathering = gather(Instant::now()),
                _ = reports.changed(), if idle && gathering.is_none() => gathering = gather(Instant::now()),
            }
            self.write_due(*leads);
            if *leads && Instant::now() < self.until {
                self.regain_statuses().await;
                self.tell_owners().await;
                self.release().await;
            }
        }
    }

    /// Takes or renews the lease. A leader that can't renew it leads until its last renewal expires.
    async fn contend(&mut self, led: bool) -> bool {
        let begun = Instant::now();
        let leads = match self.election.contend().await {
            Ok(leads) => {
                self.until = begun + if leads { HOLD } else { Duration::ZERO };
                leads
            }
            Err(error) => {
                tracing::warn!(%error, "can't renew the leader's lease");
                led && Instant::now() < self.until
            }
        };
        if leads != led {
            tracing::info!(leads, "leadership changed");
            self.leads.send_replace(leads);
        }
        leads
    }

    /// Takes in every change before now. The first was noticed at `woken`.
    fn take_in(&mut self, woken: Instant) {
        let begun = Instant::now();
        let affected = self.feed.take_affected().into_iter().map(|key| (key, woken));
        let mut news: BTreeMap<ObjectRef, Instant> = affected.collect();
        let reported = self.desk.take_changed().into_iter();
        news.extend(reported.filter_map(|(plan, at)| Some((plan.parse().ok()?, at))));
        let now = Instant::now();
        self.observed = self.feed.take_observed();
        for (key, seen) in &self.observed {
            self.known.see(key, seen);
            let is_there = !seen.owners.is_empty() && self.feed.subject(key).is_some();
            let owners = if is_there { seen.owners.clone() } else { BTreeSet::new() };
            if self.ledger.set_owners(key, owners, now) {
                news.entry(key.clone()).or_insert(woken);
            }
        }
        self.news.extend(news);
        self.spent = begun.elapsed();
    }

    /// Whether changes were taken in that are not handled yet.
    fn has_news(&self) -> bool {
        !self.news.is_empty() || !self.observed.is_empty()
    }

    /// Handles objects that changed, until other tasks must have their turn.
    fn look_for_a_while(&mut self) {
        let begun = Instant::now();
        while let Some((key, at)) = self.news.pop_first() {
            self.look(&key, at);
            if begun.elapsed() >= SLICE {
                break;
            }
        }
        if self.news.is_empty() {
            let (now, observed) = (Instant::now(), std::mem::take(&mut self.observed));
            observed.iter().for_each(|(key, seen)| self.observe_children(key, seen, now));
            for (key, seen) in observed.into_iter().filter(|(key, _)| !self.statusless.has(key.kind)) {
                self.board.observe(&key, (&seen.conditions, seen.applied), now);
            }
        }
        self.spent += begun.elapsed();
    }

    /// Handles an object that changed at this time.
    fn look(&mut self, key: &ObjectRef, at: Instant) {
        let now = Instant::now();
        let Some(subject) = self.feed.subject(key) else {
            self.pending.remove(key);
            self.board.contribute(key, BTreeMap::new(), now);
            self.ledger.forget(key, now);
            self.statusless.forget(key);
            self.known.forget(key);
            self.flights.cancel(key);
            return self.board.forget(key);
        };
        let parts = subject.told.iter().map(|told| (told.about.clone(), told.part.clone()));
        self.board.contribute(key, parts.collect(), now);
        let served = subject.served.as_ref();
        let (reports, changed) = served.map(|served| self.reports_of(subject.of, served)).unwrap_or_default();
        let at = changed.unwrap_or(at);
        let version = (subject.verdict.generation, subject.served.as_ref().map(|served| served.version));
        let waited = self.board.waited(key, version, now);
        let mut status = subject.status(&reports, waited);
        let row = kinds::row(key.kind);
        status.applied.take_if(|_| !row.is_some_and(|row| row.announces));
        if let Some(served) = subject.served.as_ref().filter(|_| row.is_some_and(|row| row.interface)) {
            status.fields.extend(interface(served, &reports).into_iter().chain(peers(served, &reports)));
        }
        if let Some(generation) = status.programmed().filter(|_| subject.of == Of::Plan) {
            self.feed.course(|course| course.programmed(key, generation, at));
            let leads = *self.leads.borrow();
            self.feed.tracer().inspect(|tracer| tracer.programmed(key, generation, at, leads));
        }
        match status.pending {
            true => self.pending.insert(key.clone()),
            false => self.pending.remove(key),
        };
        self.ledger.set_applied(key, status.applied, now);
        self.board.set(key, status, now);
    }

    /// Returns the reports on what is served, with those of nodes whose agents aren't sent it. If reports have come since
    /// [`Writer::take_in`], also returns the time of the latest; they are not news any more.
    fn reports_of(&self, of: Of, served: &Served) -> (Vec<PlanReport>, Option<Instant>) {
        let (told, changed) = self.desk.take_statuses_of(&served.plan);
        let Of::NodeProxy(kind) = of else { return (told, changed) };
        let (lacking, able): (BTreeSet<_>, BTreeSet<_>) =
            served.nodes.iter().partition(|node| self.desk.lacks(node, kind));
        let told = told.into_iter().filter(|one| able.contains(&one.node));
        let lacking = lacking.into_iter().map(|node| PlanReport::lacking(node, served));
        (told.chain(lacking).collect(), changed)
    }

    /// Begins the writes that are due while this hub leads.
    fn write_due(&mut self, leads: bool) {
        while let Some(landed) = self.flights.try_landed() {
            self.note(landed);
        }
        let now = Instant::now();
        if !leads || now >= self.until {
            return;
        }
        while let Some((key, status)) = self.board.take(now) {
            self.begin(key, status);
        }
    }

    /// Begins the write of an object's status.
    fn begin(&mut self, key: ObjectRef, status: ObjectStatus) {
        let (Some(subject), Some(row)) = (self.feed.subject(&key), kinds::row(key.kind)) else {
            return self.board.passed(&key, Instant::now());
        };
        let (client, identity) = (self.client.clone(), self.identity.clone());
        let told = self.statusless.told(&key, subject.verdict.generation);
        let known = self.known.get(&subject.verdict).cloned();
        let (young, until) = (self.started.elapsed() < UNHEARD, self.until);
        let write = Write { client, identity, subject, row, status, told, young };
        let landed = async move |key| {
            let outcome = by(until, write.run(known)).await;
            Landed { key, status: write.status, outcome }
        };
        self.flights.begin(&key, landed(key.clone()));
    }

    /// Looks for kinds whose definition has got a status, and writes those of all their objects.
    async fn regain_statuses(&mut self) {
        // The result of an earlier write must not count as that of a later one.
        if !self.flights.is_empty() {
            return;
        }
        for kind in self.statusless.take_due(Instant::now()) {
            let Some(row) = kinds::row(kind) else { continue };
            match by(self.until, subresource::has_status(&self.client, &(row.resource)())).await {
                Ok(true) => {
                    self.statusless.remove(kind);
                    self.board.write_again(kind, Instant::now());
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(kind = kind.name, %error, "can't look for the kind's status"),
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
