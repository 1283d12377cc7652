//! The Leases of nodes and addresses in the API server: [`Leases`] writes them, and its watch tells a [`Judge`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use portreeve_runtime::watch::{self, Verbs};
use serde_json::json;
use tokio::sync::Notify;

use crate::judge::{Judge, Verdict};

/// The label of these Leases. Its value tells what they are of.
const LABEL: &str = "portreeve.dev/addresses";

/// The annotation of an address's Lease with the address.
const ADDRESS: &str = "portreeve.dev/address";

/// Timeout of a request. A renewal that takes longer comes too late.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The Leases.
pub struct Leases {
    api: Api<Lease>,
    node: String,
    seen: Arc<Seen>,
}

/// What the watch has seen.
pub struct Seen {
    state: Mutex<State>,
    /// Notified when something changed.
    pub changed: Notify,
}

struct State {
    judge: Judge,
    /// The version of each address's Lease.
    versions: BTreeMap<IpAddr, String>,
    nodes: BTreeSet<String>,
}

/// The verbs of the watch. It is tried again soon, because other nodes are judged by it.
struct Watching(Arc<Seen>);

// === impl Leases ===

impl Leases {
    /// Creates the Leases of a node, in a namespace.
    pub fn new(client: Client, namespace: &str, node: &str) -> Self {
        let state = State { judge: Judge::new(node), versions: BTreeMap::new(), nodes: BTreeSet::new() };
        let seen = Arc::new(Seen { state: Mutex::new(state), changed: Notify::new() });
        Self { api: Api::namespaced(client, namespace), node: node.to_owned(), seen }
    }

    /// Returns what the watch has seen.
    pub fn seen(&self) -> Arc<Seen> {
        self.seen.clone()
    }

    /// Watches the Leases, and never returns.
    ///
    /// # Errors
    /// Never returns an error: a failed watch is tried again.
    pub async fn watch(&self) -> anyhow::Result<()> {
        let config = watcher::Config::default().labels(LABEL);
        watch::run(self.api.clone(), config, None, Some, Watching(self.seen.clone())).await
    }

    /// Renews the node's Lease, and creates it if there is none.
    ///
    /// # Errors
    /// Returns an error if that didn't succeed in time.
    pub async fn renew(&self) -> anyhow::Result<()> {
        let name = node_name(&self.node);
        let spec = json!({"holderIdentity": self.node, "renewTime": MicroTime(Timestamp::now())});
        let patch = Patch::Merge(json!({"spec": spec}));
        let renewed = async {
            match self.api.patch(&name, &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    let lease = self.lease(&name, "node", None);
                    self.api.create(&PostParams::default(), &lease).await.map(drop)
                }
                other => other.map(drop),
            }
        };
        tokio::time::timeout(TIMEOUT, renewed).await.context("the API server did not answer in time")??;
        Ok(())
    }

    /// Claims an address for this node, in the version of its Lease by which that was decided; `None` if there was no Lease.
    /// Returns whether that succeeded: another node may have been faster.
    ///
    /// # Errors
    /// Returns an error if the API server can't be reached or rejects the request.
    pub async fn take(&self, address: IpAddr, version: Option<&str>) -> anyhow::Result<bool> {
        let name = claim_name(address);
        let written = async {
            match version {
                Some(version) => self.write(&name, version, Some(&self.node)).await,
                None => {
                    self.api.create(&PostParams::default(), &self.lease(&name, "claim", Some(address))).await
                }
            }
        };
        self.see(written).await
    }

    /// Gives up this node's claim of an address, in the version of its Lease by which that was decided. Returns whether that
    /// succeeded: the Lease may have changed.
    ///
    /// # Errors
    /// Returns an error if the API server can't be reached or rejects the request. The claim then ends with the node's Lease.
    pub async fn give(&self, address: IpAddr, version: &str) -> anyhow::Result<bool> {
        let name = claim_name(address);
        self.see(self.write(&name, version, None)).await
    }

    /// Deletes the node's Lease, so that other nodes needn't wait until it lapses.
    ///
    /// # Errors
    /// Returns an error if the API server can't be reached or rejects the request.
    pub async fn resign(&self) -> anyhow::Result<()> {
        let name = node_name(&self.node);
        let params = DeleteParams::default();
        let deleted = self.api.delete(&name, &params);
        tokio::time::timeout(TIMEOUT, deleted).await.context("the API server did not answer in time")??;
        Ok(())
    }

    /// Records the Lease that a request returns. Returns `false` if the request was about another version of it.
    async fn see(&self, written: impl Future<Output = kube::Result<Lease>>) -> anyhow::Result<bool> {
        match tokio::time::timeout(TIMEOUT, written).await.context("the API server did not answer in time")? {
            Ok(lease) => {
                self.seen.with(|state| state.see(&lease, Instant::now()));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes who has an address, in this version of its Lease only.
    async fn write(&self, name: &str, version: &str, holder: Option<&str>) -> kube::Result<Lease> {
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": holder}});
        self.api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    fn lease(&self, name: &str, of: &str, address: Option<IpAddr>) -> Lease {
        let annotation = address.map(|address| [(ADDRESS.to_owned(), address.to_string())].into());
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([(LABEL.to_owned(), of.to_owned())].into()),
                annotations: annotation,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.node.clone()),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Returns what this node is to do, of which these are the addresses that it could serve, and the versions of the Leases to
    /// claim and to give up.
    pub fn judge(&self, wanted: &BTreeSet<IpAddr>) -> (Verdict, BTreeMap<IpAddr, String>) {
        self.with(|state| {
            let verdict = state.judge.judge(wanted, Instant::now());
            let changing = verdict.take.iter().chain(&verdict.give);
            let version = |address: &IpAddr| Some((*address, state.versions.get(address)?.clone()));
            let versions = changing.filter_map(version).collect();
            (verdict, versions)
        })
    }

    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state: MutexGuard<'_, State> = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state)
    }
}

// === impl State ===

impl State {
    fn see(&mut self, lease: &Lease, now: Instant) {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let version = lease.resource_version().unwrap_or_default();
        match (lease.labels().get(LABEL).map(String::as_str), address_of(lease)) {
            (Some("node"), _) => {
                let Some(node) = holder else { return };
                self.nodes.insert(node.to_owned());
                self.judge.see_node(node, &version, now);
            }
            (Some("claim"), Some(address)) => {
                self.versions.insert(address, version);
                self.judge.see_claim(address, holder);
            }
            _ => {}
        }
    }

    fn lose(&mut self, lease: &Lease) {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        match (address_of(lease), holder) {
            (Some(address), _) => {
                self.versions.remove(&address);
                self.judge.lose_claim(address);
            }
            (None, Some(node)) => {
                self.nodes.remove(node);
                self.judge.lose_node(node);
            }
            (None, None) => {}
        }
    }

    fn reset(&mut self, leases: &[Lease], now: Instant) {
        let addresses: BTreeSet<IpAddr> = leases.iter().filter_map(address_of).collect();
        let holder = |lease: &Lease| lease.spec.as_ref()?.holder_identity.clone();
        let nodes: BTreeSet<String> =
            leases.iter().filter(|lease| address_of(lease).is_none()).filter_map(holder).collect();
        let gone: Vec<IpAddr> =
            self.versions.keys().filter(|one| !addresses.contains(one)).copied().collect();
        for address in gone {
            self.versions.remove(&address);
            self.judge.lose_claim(address);
        }
        self.nodes.difference(&nodes).for_each(|node| self.judge.lose_node(node));
        self.nodes = nodes;
        leases.iter().for_each(|lease| self.see(lease, now));
    }
}

// === impl Watching ===

impl Verbs<Lease> for Watching {
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    fn apply(&mut self, lease: Lease) {
        self.0.with(|state| state.see(&lease, Instant::now()));
        self.0.changed.notify_one();
    }

    fn delete(&mut self, lease: Lease) {
        self.0.with(|state| state.lose(&lease));
        self.0.changed.notify_one();
    }

    fn reset(&mut self, leases: Vec<Lease>) {
        self.0.with(|state| state.reset(&leases, Instant::now()));
        self.0.changed.notify_one();
    }
}

fn address_of(lease: &Lease) -> Option<IpAddr> {
    lease.annotations().get(ADDRESS)?.parse().ok()
}

/// The name of a node's Lease.
fn node_name(node: &str) -> String {
    format!("gateway.{node}")
}

/// The name of an address's Lease. A name can't hold colons, nor begin or end with `-`.
fn claim_name(address: IpAddr) -> String {
    let text = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|part| format!("{part:x}")).join("-"),
    };
    format!("address.{text}")
}
