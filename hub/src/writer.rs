//! The writer of conditions: the leading hub says of every object what it thinks of it and how far its proxies are,
//! and of every NodeProxy where it runs, in one patch with all conditions. Entry point: [`Writer::run`].

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

use crate::events;
use crate::feed::{Departing, Feed};
use crate::kinds;
use crate::lease::{DURATION, Election, HOLD, by};
use crate::raw::Raw;
use crate::reports::Desk;
use crate::status::{Board, Said, Word, lingers};
use crate::subject::Of;

/// Field manager of what is written.
const MANAGER: &str = "portreeve-hub";

/// How long news are gathered before they are looked at.
const GATHER: Duration = Duration::from_millis(10);

/// Objects that are written before the lease is looked at again.
const BATCH: usize = 64;

/// Requests under way at once.
const AT_ONCE: usize = 8;

/// How long agents have to report to a hub that starts before it takes a finalizer off.
const YOUNG: Duration = Duration::from_secs(5);

/// How long a hub that starts takes nobody's `Programmed` away because agents have not reported to it: those that reach it by a name
/// learn of it only when they ask for that again.
const UNHEARD: Duration = Duration::from_secs(15);

/// How long the lease may take to be given up at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Writes conditions while this hub leads.
pub struct Writer {
    client: Client,
    election: Election,
    identity: String,
    feed: Arc<Feed>,
    desk: Arc<Desk>,
    board: Board,
    /// Objects whose proxies have yet to answer: time alone changes what is said of them.
    pending: BTreeSet<ObjectRef>,
    started: Instant,
    /// Until when this hub may write by its last renewal of the lease.
    until: Instant,
    leads: watch::Sender<bool>,
}

/// What became of a write.
enum Outcome {
    /// It stands there.
    Stands,
    /// The object is gone, or has changed: its own news follow.
    Passed,
    /// It is too early to say so.
    Early,
}

// === impl Writer ===

impl Writer {
    /// A writer that contends for the lease in `namespace` under `identity`.
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

    /// Follows whether this hub leads.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// Runs until the shutdown, and then gives the lease up. News wait while another hub leads: they are this hub's own
    /// view of the same objects, and are written when it takes over, where they differ from what stands there.
    ///
    /// # Errors
    /// None that ends it: failures are logged and tried again.
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
            // What can't be given up runs out by itself.
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
                // First: whatever there is to write, the lease must not run out meanwhile.
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

    /// Renews or takes the lease. A hub that leads and can't renew leads on until the time of its last renewal is over.
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

    /// Looks at every object with news, that were there when this task was woken.
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

    /// Looks at an object with news that came then.
    fn look(&mut self, key: &ObjectRef, at: Instant) {
        let now = Instant::now();
        let Some(subject) = self.feed.subject(key) else {
            self.pending.remove(key);
            return self.board.forget(key);
        };
        let words = subject.served.as_ref().map(|served| self.words(&served.plan)).unwrap_or_default();
        let version = (subject.verdict.generation, subject.served.as_ref().map(|served| served.version));
        let waited = self.board.waited(key, version, now);
        let said = subject.said(&words, waited);
        if let Some(generation) = said.programmed().filter(|_| subject.of == Of::Plan) {
            self.feed.course(|course| course.programmed(key, generation, at));
            let leads = *self.leads.borrow();
            self.feed.tracer().inspect(|tracer| tracer.programmed(key, (generation, at), leads));
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

    /// Writes a batch of what is due.
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

    /// Takes the finalizer off objects whose configuration is withdrawn, once no proxy that can be reached runs anything
    /// of it; what waits or fails is looked at again.
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
        // Judged meanwhile in another version, or another object of that name: its own news follow.
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

/// The objects of a kind, in the namespace of one of them.
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

/// Whether what is said comes of what was not heard.
fn is_unheard(said: &Said) -> bool {
    let mut programmed = said.conditions.iter().filter(|one| one.type_ == ConditionType::Programmed);
    programmed.any(|one| matches!(one.reason, Reason::Pending | Reason::Unreachable))
}

/// Takes off the finalizer by which old clients announce a deletion: what it waited for is done.
async fn strip_finalizer(client: &Client, key: &ObjectRef, departing: &Departing) -> kube::Result<()> {
    let Some(row) = kinds::row(key.kind) else { return Ok(()) };
    let kept: Vec<&String> =
        departing.finalizers.iter().filter(|one| Some(one.as_str()) != row.finalizer).collect();
    let api = api(client, key, &(row.resource)());
    // Of this version only: a finalizer that somebody added meanwhile must stay. The newer version comes by the watch.
    let patch = json!({"metadata": {"resourceVersion": departing.revision, "finalizers": kept}});
    match api.patch_metadata(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}
