//! The place of a pod: its node, address and network ([`PodSite`]).

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::Cluster;
use crate::netns::Netns;

/// A running pod.
#[derive(Debug, Clone)]
pub struct PodSite {
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
    /// The node's name.
    pub node: String,
    /// The pod's address, or the node's with `hostNetwork`.
    pub address: Ipv4Addr,
    /// The pod's network, to send from and to listen in.
    pub netns: Netns,
}

// === impl Cluster ===

impl Cluster {
    /// Returns the running pods with these labels, sorted by their nodes' names.
    ///
    /// # Errors
    /// Returns an error if the API server doesn't answer or a pod isn't running.
    pub async fn pods(&self, ns: &str, labels: &str) -> Result<Vec<PodSite>> {
        let api = Api::<Pod>::namespaced(self.client()?, ns);
        let listed = api.list(&ListParams::default().labels(labels)).await?;
        let mut sites = listed.items.iter().map(|pod| self.site(pod)).collect::<Result<Vec<_>>>()?;
        sites.sort_by(|one, other| (&one.node, &one.name).cmp(&(&other.node, &other.name)));
        Ok(sites)
    }

    fn site(&self, pod: &Pod) -> Result<PodSite> {
        let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let node = node.with_context(|| format!("pod {name} has no node"))?;
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
        let address = address.with_context(|| format!("pod {name} has no address"))?.parse()?;
        let pids = self.node_named(&node)?.pids_of_pod(&uid);
        let pid = pids.first().with_context(|| format!("pod {name} has no process"))?;
        let netns = Netns::of(*pid, &name, address)?;
        Ok(PodSite { name, uid, node, address, netns })
    }
}
