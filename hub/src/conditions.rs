//! The writer of conditions: the leading hub says of every VirtualService what it thinks of it, once for each change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use portreeve_api::conditions::{self, ConditionType, Reason, Status};
use portreeve_api::virtual_service::VirtualService;
use portreeve_runtime::Readiness;
use serde_json::json;

use crate::feed::Feed;
use crate::index::{Key, Refs, Verdict};
use crate::lease::{DURATION, Election};

/// Field manager of what is written.
const MANAGER: &str = "portreeve-hub";

/// How long a burst of verdicts is gathered before it is written.
const GATHER: Duration = Duration::from_millis(100);

/// Writes conditions while this hub leads.
pub struct Writer {
    client: Client,
    election: Election,
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
        let mut waiting: BTreeMap<Key, Verdict> = BTreeMap::new();
        let mut leads = false;
        let mut renewal = tokio::time::interval(DURATION / 3);
        loop {
            tokio::select! {
                _ = renewal.tick() => leads = self.contend(leads).await,
                () = feed.changed.notified() => tokio::time::sleep(GATHER).await,
            }
            waiting.extend(feed.take_verdicts().into_iter().map(|v| (v.key.clone(), v)));
            if leads {
                waiting = self.write_all(waiting).await;
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

    /// Writes what it can and gives back what is to be tried again.
    async fn write_all(&self, verdicts: BTreeMap<Key, Verdict>) -> BTreeMap<Key, Verdict> {
        let mut again = BTreeMap::new();
        for (key, verdict) in verdicts {
            if let Err(error) = self.write(&verdict).await {
                tracing::warn!(namespace = &*key.0, name = &*key.1, %error, "can't write conditions, trying again");
                again.insert(key, verdict);
            }
        }
        again
    }

    /// Takes the finalizer off objects whose configuration is withdrawn; what fails is tried again at the next turn.
    async fn release(&self, feed: &Feed) {
        for (key, finalizers) in feed.take_departing() {
            if let Err(error) = strip_finalizer(&self.client, &key, &finalizers).await {
                tracing::warn!(namespace = &*key.0, name = &*key.1, %error, "can't take the finalizer off");
                feed.depart(key, Some(finalizers));
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
async fn strip_finalizer(client: &Client, key: &Key, finalizers: &[String]) -> kube::Result<()> {
    let kept: Vec<&String> = finalizers.iter().filter(|f| *f != FINALIZER).collect();
    let api: Api<VirtualService> = Api::namespaced(client.clone(), &key.0);
    let patch = json!({"metadata": {"finalizers": kept}});
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
