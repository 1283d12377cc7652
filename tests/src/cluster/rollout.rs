//! Waiting for states of a cluster: ready nodes, rollouts, deleted pods.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{Api, ListParams};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::{Client, ResourceExt};

use super::Cluster;

// === impl Cluster ===

impl Cluster {
    /// Waits until all nodes that are on are Ready.
    ///
    /// # Errors
    /// Returns an error after `bound`.
    pub async fn nodes_ready(&self, bound: Duration) -> Result<()> {
        let names: Vec<_> =
            self.nodes.iter().filter(|node| node.is_on()).map(|node| node.name().to_owned()).collect();
        let client = self.client()?;
        self.within("Ready nodes", bound, nodes(&client, &names, true)).await
    }

    /// Waits until the control plane notices that a node is gone (about 8 s after its last heartbeat).
    ///
    /// # Errors
    /// Returns an error after `bound`.
    pub async fn node_lost(&self, index: usize, bound: Duration) -> Result<()> {
        let (client, name) = (self.client()?, [self.node(index).name().to_owned()]);
        self.within(&format!("{} not to be Ready", name[0]), bound, nodes(&client, &name, false)).await
    }

    /// Waits until pods can be created in a namespace. Before its ServiceAccount exists, they are rejected.
    ///
    /// # Errors
    /// Returns an error after `bound`.
    pub async fn namespace_ready(&self, name: &str, bound: Duration) -> Result<()> {
        let client = self.client()?;
        self.within(&format!("the ServiceAccount of namespace {name}"), bound, namespace(&client, name)).await
    }

    /// Waits until all pods of a `daemonset`, `deployment` or `statefulset` have its newest template and are available.
    ///
    /// # Errors
    /// Returns an error after `bound`.
    pub async fn rolled_out(&self, kind: &str, ns: &str, name: &str, bound: Duration) -> Result<()> {
        let client = self.client()?;
        self.within(&format!("{kind} {ns}/{name}"), bound, workload(&client, (kind, ns, name))).await
    }

    /// Waits until no pod has these labels.
    ///
    /// # Errors
    /// Returns an error after `bound`.
    pub async fn pods_gone(&self, ns: &str, labels: &str, bound: Duration) -> Result<()> {
        let client = self.client()?;
        let waiting = no_pods(&client, ns, labels);
        self.within(&format!("the end of pods {labels} in {ns}"), bound, waiting).await
    }

    /// Waits for a future with a timeout, and prints the cluster's state if it times out.
    ///
    /// # Errors
    /// Returns the future's error, or an error after `bound`.
    pub async fn within<T>(
        &self,
        what: &str,
        bound: Duration,
        coming: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let outcome = match tokio::time::timeout(bound, coming).await {
            Ok(outcome) => outcome.with_context(|| format!("waiting for {what}")),
            Err(_) => Err(anyhow::anyhow!("waited {bound:?} in vain for {what}")),
        };
        if outcome.is_err() {
            self.troubled.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

/// Waits until all of the nodes are Ready, or all of them are not.
async fn nodes(client: &Client, names: &[String], ready: bool) -> Result<()> {
    let api = Api::<Node>::all(client.clone());
    let all = names.iter().map(|name| {
        await_condition(api.clone(), name, move |node: Option<&Node>| node.map(is_ready) == Some(ready))
    });
    futures::future::try_join_all(all).await.context("watching the nodes")?;
    Ok(())
}

/// Waits for a namespace's default ServiceAccount, which pods need.
async fn namespace(client: &Client, name: &str) -> Result<()> {
    let api = Api::<ServiceAccount>::namespaced(client.clone(), name);
    let there = |account: Option<&ServiceAccount>| account.is_some();
    await_condition(api, "default", there).await.context("watching ServiceAccounts")?;
    Ok(())
}

/// Waits until all pods of a workload have its newest template and are available.
async fn workload(client: &Client, (kind, ns, name): (&str, &str, &str)) -> Result<()> {
    match kind {
        "daemonset" => holds(Api::namespaced(client.clone(), ns), name, daemon_set).await,
        "deployment" => holds(Api::namespaced(client.clone(), ns), name, deployment).await,
        "statefulset" => holds(Api::namespaced(client.clone(), ns), name, stateful_set).await,
        _ => bail!("{kind} is not known here: there are daemonset, deployment and statefulset"),
    }
}

/// Waits until no pod has these labels.
async fn no_pods(client: &Client, ns: &str, labels: &str) -> Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), ns);
    loop {
        let pods = api.list(&ListParams::default().labels(labels)).await?;
        let Some(pod) = pods.items.first() else { return Ok(()) };
        let uid = pod.uid().unwrap_or_default();
        await_condition(api.clone(), &pod.name_any(), conditions::is_deleted(&uid)).await?;
    }
}

/// Waits until a workload has a state.
fn holds<K>(api: Api<K>, name: &str, state: fn(&K) -> Option<bool>) -> impl Future<Output = Result<()>>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + 'static,
    K: serde::de::DeserializeOwned,
{
    let condition = move |object: Option<&K>| object.and_then(state).unwrap_or_default();
    watched(api, name.to_owned(), condition)
}

async fn watched<K>(api: Api<K>, name: String, condition: impl Condition<K>) -> Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + 'static,
    K: serde::de::DeserializeOwned,
{
    await_condition(api, &name, condition).await.with_context(|| format!("watching {name}"))?;
    Ok(())
}

fn daemon_set(object: &DaemonSet) -> Option<bool> {
    let status = object.status.as_ref()?;
    let desired = status.desired_number_scheduled;
    let seen = status.observed_generation == object.metadata.generation;
    let all = [status.updated_number_scheduled, status.number_available];
    Some(seen && desired > 0 && all.iter().all(|number| *number == Some(desired)))
}

fn deployment(object: &Deployment) -> Option<bool> {
    let (desired, status) = (object.spec.as_ref()?.replicas, object.status.as_ref()?);
    let seen = status.observed_generation == object.metadata.generation;
    let all = [status.updated_replicas, status.available_replicas, status.replicas];
    Some(seen && all.iter().all(|number| number.unwrap_or_default() == desired.unwrap_or(1)))
}

fn stateful_set(object: &StatefulSet) -> Option<bool> {
    let (desired, status) = (object.spec.as_ref()?.replicas.unwrap_or(1), object.status.as_ref()?);
    let seen = status.observed_generation == object.metadata.generation;
    let all = [status.updated_replicas, status.available_replicas];
    Some(seen && status.replicas == desired && all.iter().all(|number| number.unwrap_or_default() == desired))
}

/// Returns whether a node has the condition Ready.
fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
