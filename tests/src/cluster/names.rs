//! The DNS names of Services: a DNS server next to the API server ([`Names`]).

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::task::JoinSet;

use crate::dns::Dns;
use crate::netns::Netns;

/// The port of DNS servers.
const PORT: u16 = 53;
/// The suffix of names in a cluster.
pub(super) const DOMAIN: &str = "cluster.local";

/// Knows every Service. It uses the runtime in which it was started.
pub(super) struct Names {
    _following: JoinSet<()>,
}

// === impl Names ===

impl Names {
    /// Starts a DNS server in this network that follows the Services seen by `client`.
    pub(super) fn start(network: &Netns, client: Client) -> Result<Self> {
        let dns = Arc::new(Dns::start_at(network, PORT).context("the cluster's name server")?);
        let mut following = JoinSet::new();
        following.spawn(async move {
            if let Err(error) = follow(&client, &dns).await {
                eprintln!("the cluster's names are as they were: {error:#}");
            }
        });
        Ok(Self { _following: following })
    }
}

/// Follows the endpoints of all Services and never returns.
async fn follow(client: &Client, dns: &Dns) -> Result<()> {
    let endpoints = Api::<Endpoints>::all(client.clone());
    let changes = watcher(endpoints, watcher::Config::default()).default_backoff().applied_objects();
    futures::pin_mut!(changes);
    loop {
        match changes.try_next().await {
            Ok(Some(changed)) => tell(client, dns, &changed).await,
            Ok(None) => return Ok(()),
            // While the API server is unreachable, the known names stay.
            Err(_) => {}
        }
    }
}

/// Sets the addresses of a Service's name: its cluster IP, or for a headless Service those of its ready pods.
async fn tell(client: &Client, dns: &Dns, changed: &Endpoints) {
    let (name, namespace) = (changed.name_any(), changed.namespace().unwrap_or_default());
    let Ok(service) = Api::<Service>::namespaced(client.clone(), &namespace).get(&name).await else { return };
    let own = service.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default();
    let pods = changed.subsets.iter().flatten().flat_map(|subset| subset.addresses.iter().flatten());
    let addresses: Vec<IpAddr> = match own.parse() {
        Ok(address) => vec![address],
        Err(_) => pods.filter_map(|address| address.ip.parse().ok()).collect(),
    };
    dns.set(&format!("{name}.{namespace}.svc.{DOMAIN}"), &addresses);
}
