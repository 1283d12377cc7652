//! Taking the finalizers off deleted objects, by which clients of the replaced control planes wait for their withdrawal.

use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::Client;
use kube::api::{Patch, PatchParams};
use portreeve_api::refs::ObjectRef;
use serde_json::json;

use super::request::api;
use super::{AT_ONCE, BATCH, Writer};
use crate::change::Departing;
use crate::kinds;
use crate::lease::by;
use crate::status::lingers;

/// How long a starting hub waits for agents' reports before it removes a finalizer.
const YOUNG: Duration = Duration::from_secs(5);

// === impl Writer ===

impl Writer {
    /// Removes the finalizer from withdrawn objects once no reachable proxy runs their configuration. Objects that must
    /// wait or fail are retried.
    pub(super) async fn release(&self) {
        if self.started.elapsed() < YOUNG {
            return;
        }
        let departing = self.feed.take_departing().into_iter();
        let (waiting, ready): (Vec<_>, Vec<_>) =
            departing.partition(|(key, _)| lingers(&self.desk.statuses_of(&key.to_string())));
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
}

/// Removes the finalizers of the replaced control planes, because the withdrawal is done. Those of other programs stay.
async fn strip_finalizer(client: &Client, key: &ObjectRef, departing: &Departing) -> kube::Result<()> {
    let Some(row) = kinds::row(key.kind) else { return Ok(()) };
    let kept: Vec<&String> = departing.finalizers.iter().filter(|one| !(row.removes)(one)).collect();
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
