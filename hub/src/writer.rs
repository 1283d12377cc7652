//! Writes conditions. The leading hub writes each object's conditions, and each NodeProxy's number of nodes, in one
//! patch per object. Entry point: [`Writer::run`].

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use portreeve_api::conditions::{self, ConditionType, Reason, find};
use portreeve_api::refs::ObjectRef;
use portreeve_runtime::{Readiness, Shutdown};
use serde_json::json;
use tokio::sync::watch;

use crate::change::Departing;
use crate::events;
use crate::feed::Feed;
use crate::kinds;
use crate::lease::{DURATION, Election, HOLD, by};
use crate::object::Told;
use crate::raw::Raw;
use crate::reports::Desk;
use crate::status::{Board, Said, Word, lingers};
use crate::subject::Of;

/// Field manager of the patches.
const MANAGER: &str = "portreeve-hub";

/// How long changes are collected before they are handled.
const GATHER: Duration = Duration::from_millis(10);

/// Number of objects written before the lease is checked again.
const BATCH: usize = 64;

/// Maximum number of concurrent requests.
const AT_ONCE: usize = 8;

/// How long a starting hub waits for agents' reports before it removes a finalizer.
const YOUNG: Duration = Duration::from_secs(5);

/// How long a starting hub doesn't set `Programmed` to a worse status for missing reports. Agents that reach the hub by
/// a DNS name only find it when they resolve the name again.
const UNHEARD: Duration = Duration::from_secs(15);

/// Timeout for releasing the lease at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Writes conditions while this hub leads.
pub struct Writer {
    client: Client,
    election: Election,
    identity: String,
    feed: Arc<Feed>,
    desk: Arc<Desk>,
    board: Board,
    /// Objects whose proxies haven't answered yet. Their conditions change with time alone.
    pending: BTreeSet<ObjectRef>,
    started: Instant,
    /// Time until which this hub may write, according to its last renewal of the lease.
    until: Instant,
    leads: watch::Sender<bool>,
}

/// The result of a write.
enum Outcome {
    /// The object has the conditions.
    Stands,
    /// The object is gone or has changed. A watch event will follow.
    Passed,
    /// It is too early to write these conditions.
    Early,
}

// === impl Writer ===

impl Writer {
    /// Creates a writer that is a candidate for the lease in `namespace` under `identity`.
    pub fn new(
        client: Client,
        (namespace, identity): (String, String),
        feed: Arc<Feed>,
        desk: Arc<Desk>,
    ) -> Self {
        let election = Election::new(client.clone(), &namespace, identity.clone());
        let (board, pending, started) = (Board::default(), BTreeSet::new(), Instant::now());
        let leads = watch::Sender::new(false);
        Self { client, election, identity, feed, desk, board, pending, started, until: started, leads }
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
        if leads {
            // A lease that can't be released expires.
            let _ = tokio::time::timeout(FAREWELL, self.election.release()).await;
        }
        Ok(())
    }

    async fn write_for_ever(&mut self, leads: &mut bool) {
        let mut renewal = tokio::time::interval(DURATION / 5);
        let (feed, mut reports) = (self.feed.clone(), self.desk.changes());
        loop {
            let due = self.board.deadline().filter(|_| *leads);
            let gather = || async {
                let woken = Instant::now();
                tokio::time::sleep(GATHER).await;
                woken
            };
            let woken = tokio::select! {
                // The lease comes first: it must not expire while objects are written.
                biased;
                _ = renewal.tick() => {
                    *leads = self.contend(*leads).await;
                    let pending = std::mem::take(&mut self.pending);
                    let now = Instant::now();
                    pending.iter().for_each(|key| self.look(key, now));
                    now
                }
                () = sleep_until(due) => Instant::now(),
                () = feed.changed.notified() => gather().await,
                _ = reports.changed() => gather().await,
            };
            self.take_in(woken);
            if *leads && Instant::now() < self.until {
                self.write_some().await;
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

    /// Handles every object that changed before this task was woken.
    fn take_in(&mut self, woken: Instant) {
        let stirred = self.feed.take_stirred().into_iter().map(|key| (key, woken));
        let mut news: BTreeMap<ObjectRef, Instant> = stirred.collect();
        let reported = self.desk.take_changed().into_iter();
        news.extend(reported.filter_map(|(plan, at)| Some((plan.parse().ok()?, at))));
        news.iter().for_each(|(key, at)| self.look(key, *at));
        let now = Instant::now();
        for (key, stands) in self.feed.take_observed() {
            self.board.observe(&key, &stands, now);
        }
    }

    /// Handles an object that changed at this time.
    fn look(&mut self, key: &ObjectRef, at: Instant) {
        let now = Instant::now();
        let Some(subject) = self.feed.subject(key) else {
            self.pending.remove(key);
            self.board.withdraw(key, now);
            return self.board.forget(key);
        };
        self.board.withdraw(key, now);
        for Told { about, part } in &subject.told {
            self.board.contribute(about, key, part.clone(), now);
        }
        let words = subject.served.as_ref().map(|served| self.words(&served.plan)).unwrap_or_default();
        let version = (subject.verdict.generation, subject.served.as_ref().map(|served| served.version));
        let waited = self.board.waited(key, version, now);
        let said = subject.said(&words, waited);
        if let Some(generation) = said.programmed().filter(|_| subject.of == Of::Plan) {
            self.feed.course(|course| course.programmed(key, generation, at));
            let leads = *self.leads.borrow();
            self.feed.tracer().inspect(|tracer| tracer.programmed(key, generation, at, leads));
        }
        match said.pending {
            true => self.pending.insert(key.clone()),
            false => self.pending.remove(key),
        };
        self.board.say(key, said, now);
    }

    fn words(&self, plan: &str) -> Vec<Word> {
        let said = self.desk.statuses_of(plan).into_iter();
        said.map(|one| Word { node: one.node, status: one.status, reachable: one.reachable }).collect()
    }

    /// Writes a batch of objects that are due.
    async fn write_some(&mut self) {
        let due = self.board.take(BATCH, Instant::now());
        let young = self.started.elapsed() < UNHEARD;
        let this = &*self;
        let batch = stream::iter(due).map(|(key, said)| async move {
            let outcome = by(this.until, this.write(&key, &said, young)).await;
            (key, said, outcome)
        });
        let written: Vec<_> = pin!(batch.buffer_unordered(AT_ONCE)).collect().await;
        let now = Instant::now();
        for (key, said, outcome) in written {
            match outcome {
                Ok(Outcome::Stands) => self.board.written(&key, said, now),
                Ok(Outcome::Passed) => {}
                Ok(Outcome::Early) => self.board.failed(&key, now),
                Err(error) => {
                    let (namespace, name) = (&*key.namespace, &*key.name);
                    tracing::warn!(namespace, name, %error, "can't write conditions, trying again");
                    self.board.failed(&key, now);
                }
            }
        }
    }

    /// Removes the finalizer from withdrawn objects once no reachable proxy runs their configuration. Objects that must
    /// wait or fail are retried.
    async fn release(&self) {
        if self.started.elapsed() < YOUNG {
            return;
        }
        let departing = self.feed.take_departing().into_iter();
        let (waiting, ready): (Vec<_>, Vec<_>) =
            departing.partition(|(key, _)| lingers(&self.words(&key.to_string())));
        waiting.into_iter().for_each(|(key, departing)| self.feed.keep_departing(key, departing));
        let mut ready = ready;
        let later = ready.split_off(ready.len().min(BATCH));
        later.into_iter().for_each(|(key, departing)| self.feed.depart_again(key, departing));
        let batch = stream::iter(ready).map(|(key, departing)| async move {
            let outcome = by(self.until, strip_finalizer(&self.client, &key, &departing)).await;
            (key, departing, outcome)
        });
        let mut stripped = pin!(batch.buffer_unordered(AT_ONCE));
        while let Some((key, departing, outcome)) = stripped.next().await {
            if let Err(error) = outcome {
                tracing::warn!(namespace = &*key.namespace, name = &*key.name, %error, "can't take the finalizer off");
                self.feed.depart_again(key, departing);
            }
        }
    }

    async fn write(&self, key: &ObjectRef, said: &Said, young: bool) -> kube::Result<Outcome> {
        let (Some(subject), Some(row)) = (self.feed.subject(key), kinds::row(key.kind)) else {
            return Ok(Outcome::Passed);
        };
        let (verdict, resource) = (&subject.verdict, (row.resource)());
        let api = api(&self.client, key, &resource);
        let Some(object) = api.get_opt(&key.name).await? else { return Ok(Outcome::Passed) };
        // The object has a new generation, or was recreated. A watch event will follow.
        let other = object.metadata.uid.as_deref() != Some(&verdict.uid);
        if other || object.metadata.generation.unwrap_or(0) != verdict.generation {
            return Ok(Outcome::Passed);
        }
        let before = object.conditions();
        if young && is_unheard(said) && is_programmed(&before, verdict.generation) {
            return Ok(Outcome::Early);
        }
        let (mut after, now) = (before.clone(), Timestamp::now());
        let mut differs = false;
        for condition in &said.conditions {
            differs |= conditions::set(&mut after, condition.clone(), now);
        }
        if !differs {
            return Ok(Outcome::Stands);
        }
        let mut patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"uid": verdict.uid},
            "status": {"conditions": after},
        });
        if let Some((nodes, ready)) = said.nodes {
            (patch["status"]["nodes"], patch["status"]["ready"]) = (nodes.into(), ready.into());
        }
        let params = PatchParams::apply(MANAGER).force();
        match api.patch_status(&key.name, &params, &Patch::Apply(&patch)).await {
            Ok(_) => {
                events::publish(&self.client, (&subject, &self.identity), &before, &after).await;
                Ok(Outcome::Stands)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Outcome::Passed),
            Err(error) => Err(error),
        }
    }
}

/// Returns the API of a kind in an object's namespace.
fn api(client: &Client, object: &ObjectRef, resource: &ApiResource) -> Api<Raw> {
    match object.kind.namespaced {
        true => Api::namespaced_with(client.clone(), &object.namespace, resource),
        false => Api::all_with(client.clone(), resource),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn is_programmed(stands: &[Condition], generation: i64) -> bool {
    let found = find(stands, ConditionType::Programmed);
    found.is_some_and(|one| one.status == "True" && one.observed_generation == Some(generation))
}

/// Returns whether the conditions result from missing reports.
fn is_unheard(said: &Said) -> bool {
    let mut programmed = said.conditions.iter().filter(|one| one.type_ == ConditionType::Programmed);
    programmed.any(|one| matches!(one.reason, Reason::Pending | Reason::Unreachable))
}

/// Removes the finalizer with which clients of the replaced control plane announce a deletion, because the withdrawal
/// is done.
async fn strip_finalizer(client: &Client, key: &ObjectRef, departing: &Departing) -> kube::Result<()> {
    let Some(row) = kinds::row(key.kind) else { return Ok(()) };
    let kept: Vec<&String> =
        departing.finalizers.iter().filter(|one| Some(one.as_str()) != row.finalizer).collect();
    let api = api(client, key, &(row.resource)());
    // The patch applies to this version only, so that a finalizer added meanwhile stays. A watch event brings the newer
    // version.
    let patch = json!({"metadata": {"resourceVersion": departing.revision, "finalizers": kept}});
    match api.patch_metadata(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}
