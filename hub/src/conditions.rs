//! The writer of conditions: the leading hub says of every VirtualService what it thinks of it, once for each change.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use portreeve_api::conditions::{self, ConditionType, Reason, Status};
use portreeve_api::virtual_service::VirtualService;
use portreeve_runtime::Readiness;
use serde_json::json;

use crate::feed::{Departing, Feed};
use crate::index::{Key, Refs, Verdict};
use crate::lease::{DURATION, Election};

/// Field manager of what is written.
const MANAGER: &str = "portreeve-hub";

/// How long a burst of verdicts is gathered before it is written.
const GATHER: Duration = Duration::from_millis(100);

/// Objects that are written before the lease is looked at again.
const BATCH: usize = 64;

/// Requests under way at once.
const AT_ONCE: usize = 8;

/// Writes conditions while this hub leads.
pub struct Writer {
    client: Client,
    election: Election,
}

/// The newest verdict of each object that is not written yet.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<Key, Verdict>,
    failed: BTreeMap<Key, Verdict>,
}

// === impl Queue ===

impl Queue {
    /// Newer verdicts take the place of older ones.
    fn add(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            self.failed.remove(&verdict.key);
            self.waiting.insert(verdict.key.clone(), verdict);
        }
    }

    /// Takes as many as that.
    fn take(&mut self, count: usize) -> Vec<Verdict> {
        std::iter::from_fn(|| self.waiting.pop_first().map(|(_, verdict)| verdict)).take(count).collect()
    }

    /// What failed waits again.
    fn try_again(&mut self) {
        self.waiting.append(&mut self.failed);
    }
}

// === impl Writer ===

impl Writer {
    /// A writer that contends for the lease in `namespace` under `identity`.
    pub fn new(client: Client, namespace: String, identity: String) -> Self {
        let election = Election::new(client.clone(), &namespace, identity);
        Self { client, election }
    }

    /// Runs for ever. Verdicts wait while another hub leads: they are this hub's own view of the same objects, and
    /// are written when it takes over, where they differ from what stands there.
    ///
    /// # Errors
    /// None that ends it: failures are logged and tried again.
    pub async fn run(self, feed: Arc<Feed>, readiness: Readiness) -> anyhow::Result<()> {
        readiness.ready().await;
        let mut queue = Queue::default();
        let mut leads = false;
        let mut renewal = tokio::time::interval(DURATION / 5);
        loop {
            let busy = leads && !queue.waiting.is_empty();
            tokio::select! {
                // First: whatever there is to write, the lease must not run out meanwhile.
                biased;
                _ = renewal.tick() => {
                    leads = self.contend(leads).await;
                    queue.try_again();
                }
                () = std::future::ready(()), if busy => {}
                () = feed.changed.notified() => tokio::time::sleep(GATHER).await,
            }
            queue.add(feed.take_verdicts());
            if leads {
                self.write_some(&mut queue).await;
                self.release(&feed).await;
            }
        }
    }

    async fn contend(&self, led: bool) -> bool {
        let leads = self.election.contend().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "can't renew the leader's lease");
            false
        });
        if leads != led {
            tracing::info!(leads, "leadership changed");
        }
        leads
    }

    /// Writes a batch of what waits.
    async fn write_some(&self, queue: &mut Queue) {
        let batch = stream::iter(queue.take(BATCH)).map(|verdict| async move {
            let outcome = self.write(&verdict).await;
            (verdict, outcome)
        });
        let mut written = pin!(batch.buffer_unordered(AT_ONCE));
        while let Some((verdict, outcome)) = written.next().await {
            if let Err(error) = outcome {
                let (namespace, name) = (&*verdict.key.0, &*verdict.key.1);
                tracing::warn!(namespace, name, %error, "can't write conditions, trying again");
                queue.failed.insert(verdict.key.clone(), verdict);
            }
        }
    }

    /// Takes the finalizer off objects whose configuration is withdrawn; what fails is tried again at the next turn.
    async fn release(&self, feed: &Feed) {
        let mut departing: Vec<_> = feed.take_departing().into_iter().collect();
        let later = departing.split_off(departing.len().min(BATCH));
        later.into_iter().for_each(|(key, departing)| feed.depart_again(key, departing));
        let batch = stream::iter(departing).map(|(key, departing)| async move {
            let outcome = strip_finalizer(&self.client, &key, &departing).await;
            (key, departing, outcome)
        });
        let mut stripped = pin!(batch.buffer_unordered(AT_ONCE));
        while let Some((key, departing, outcome)) = stripped.next().await {
            if let Err(error) = outcome {
                tracing::warn!(namespace = &*key.0, name = &*key.1, %error, "can't take the finalizer off");
                feed.depart_again(key, departing);
            }
        }
    }

    async fn write(&self, verdict: &Verdict) -> kube::Result<()> {
        let (namespace, name) = (&verdict.key.0, &verdict.key.1);
        let api: Api<VirtualService> = Api::namespaced(self.client.clone(), namespace);
        let raw: Api<crate::raw::Raw<VirtualService>> = Api::namespaced(self.client.clone(), namespace);
        let Some(object) = raw.get_opt(name).await? else { return Ok(()) };
        // Judged meanwhile in another version, or another object of that name: its own verdict follows.
        let other = object.metadata.uid.as_deref() != Some(&verdict.uid);
        if other || object.metadata.generation.unwrap_or(0) != verdict.generation {
            return Ok(());
        }
        let mut present = object.conditions();
        let now = Timestamp::now();
        let mut differs = false;
        for condition in said(verdict) {
            differs |= conditions::set(&mut present, condition, now);
        }
        if !differs {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": VirtualService::api_version(&()),
            "kind": VirtualService::kind(&()),
            "metadata": {"uid": verdict.uid},
            "status": {"conditions": present},
        });
        let params = PatchParams::apply(MANAGER).force();
        match api.patch_status(name, &params, &Patch::Apply(&patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The conditions that a verdict stands for.
pub fn said(verdict: &Verdict) -> Vec<conditions::Verdict> {
    let say = |type_, status, reason, message| conditions::Verdict {
        type_,
        status,
        reason,
        message,
        generation: Some(verdict.generation),
    };
    if let Some(rejection) = &verdict.rejection {
        let kept = if verdict.previous_in_force { "; the previous version stays in force" } else { "" };
        let message = format!("{}{kept}", rejection.message);
        return vec![say(ConditionType::Accepted, Status::False, rejection.reason, message)];
    }
    let reason = verdict.warnings.first().map_or(Reason::Accepted, |(reason, _)| *reason);
    let remarks: Vec<&str> = verdict.warnings.iter().map(|(_, text)| text.as_str()).collect();
    let accepted = say(ConditionType::Accepted, Status::True, reason, remarks.join("; "));
    let resolved = match &verdict.refs {
        Refs::Resolved => say(ConditionType::ResolvedRefs, Status::True, Reason::ResolvedRefs, String::new()),
        Refs::Empty(selection) => {
            let message = format!("no pod matches {selection}: its cluster is served empty");
            say(ConditionType::ResolvedRefs, Status::False, Reason::NoEndpoints, message)
        }
        Refs::Elsewhere(selection, pods) => {
            let message = format!(
                "no pod matches {selection}, but {} would: selectors look in their own namespace; \
                 --selector-scope=cluster on the hub makes them look everywhere",
                pods.join(", ")
            );
            say(ConditionType::ResolvedRefs, Status::False, Reason::OutsideNamespace, message)
        }
    };
    vec![accepted, resolved]
}

/// Takes off the finalizer by which old clients announce a deletion: what it waited for is done.
async fn strip_finalizer(client: &Client, key: &Key, departing: &Departing) -> kube::Result<()> {
    let kept: Vec<&String> = departing.finalizers.iter().filter(|f| *f != FINALIZER).collect();
    let api: Api<VirtualService> = Api::namespaced(client.clone(), &key.0);
    // Of this version only: a finalizer that somebody added meanwhile must stay. The newer version comes by the watch.
    let patch = json!({"metadata": {"resourceVersion": departing.revision, "finalizers": kept}});
    match api.patch_metadata(&key.1, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The seed's finalizer: its clients put it on right before they delete.
pub const FINALIZER: &str = "l7mp.io/delete";

/// Whether an object is being deleted and waits for us.
pub fn waits_for_us(object: &impl ResourceExt) -> bool {
    object.meta().deletion_timestamp.is_some() && object.finalizers().iter().any(|f| f == FINALIZER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, generation: i64) -> Verdict {
        Verdict {
            key: ("ns".into(), name.into()),
            uid: name.into(),
            generation,
            rejection: None,
            previous_in_force: false,
            warnings: Vec::new(),
            refs: Refs::Resolved,
        }
    }

    fn fail(queue: &mut Queue) {
        for verdict in queue.take(BATCH) {
            queue.failed.insert(verdict.key.clone(), verdict);
        }
    }

    #[test]
    fn a_newer_verdict_takes_the_place_of_one_that_could_not_be_written() {
        let mut queue = Queue::default();
        queue.add(vec![verdict("a", 1), verdict("b", 1)]);
        fail(&mut queue);
        assert!(queue.take(BATCH).is_empty(), "what failed waits for its turn");
        queue.add(vec![verdict("a", 2)]);
        queue.try_again();
        assert_eq!(queue.take(BATCH).iter().map(|v| v.generation).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn no_more_is_taken_than_asked_for_and_the_rest_stays() {
        let mut queue = Queue::default();
        queue.add((0..5).map(|i| verdict(&i.to_string(), 1)).collect());
        assert_eq!((queue.take(3).len(), queue.take(3).len(), queue.take(3).len()), (3, 2, 0));
    }
}
