//! A pod of the town. There is no kubelet: the test writes its status.

use std::net::IpAddr;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

use crate::cgroup::Container;
use crate::envoy::Admin;
use crate::manifest;
use crate::netns::Netns;
use crate::process::Process;

/// A pod of a node.
pub struct Worker {
    /// Name, in namespace `default`.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
    /// Its network namespace.
    pub netns: Netns,
    /// Addresses for the next [`Worker::set_ready`], the primary family first.
    pub ips: Vec<IpAddr>,
    /// Its Envoy, if it has one.
    pub envoy: Option<Process>,
    /// The Envoy's admin socket.
    pub admin: Admin,
    /// The cgroup of its container, if cgroups can be created. It is removed after the Envoy.
    pub container: Option<Container>,
    pub(super) client: Client,
}

// === impl Worker ===

impl Worker {
    /// Returns the pod's primary address.
    pub fn ip(&self) -> IpAddr {
        self.ips[0]
    }

    /// Writes the pod's status, as a kubelet would.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub async fn set_ready(&self, ready: bool) -> Result<()> {
        let (ip, ready) = (self.ip(), if ready { "True" } else { "False" });
        let ips: Vec<String> = self.ips.iter().map(|ip| format!("{{ip: '{ip}'}}")).collect();
        let since = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
        let status = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {}, namespace: default}}\nstatus: {{phase: Running, \
             podIP: '{ip}', podIPs: [{}], conditions: [{{type: Ready, status: '{ready}', \
             lastTransitionTime: '{since}'}}]}}\n",
            self.name,
            ips.join(", ")
        );
        manifest::apply_status(&self.client, &status).await.map(drop)
    }

    /// Sets an annotation of the pod; `None` removes it.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub async fn annotate(&self, key: &str, value: Option<&str>) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), "default");
        let patch = serde_json::json!({"metadata": {"annotations": {key: value}}});
        pods.patch(&self.name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Binds the pod to a node, as a scheduler would.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub async fn bind(&self, node: &str) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), "default");
        let binding = serde_json::json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": self.name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let parameters = kube::api::PostParams::default();
        let bound: kube::Result<serde_json::Value> =
            pods.create_subresource("binding", &self.name, &parameters, &binding).await;
        bound.map(drop).with_context(|| format!("binding {} to {node}", self.name))
    }

    /// Deletes the pod with its grace period: it is terminating, and stays until [`Worker::remove`].
    ///
    /// # Errors
    /// Returns an error if the server rejects the request.
    pub async fn terminate(&self) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), "default");
        pods.delete(&self.name, &kube::api::DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes the pod immediately.
    ///
    /// # Errors
    /// Returns an error if the server rejects the request.
    pub async fn remove(&self) -> Result<()> {
        let pod =
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {}, namespace: default}}\n", self.name);
        manifest::delete(&self.client, &pod).await
    }
}
