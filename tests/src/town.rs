//! A small cluster: an API server, hub and agents as separate processes, nodes and pods as network namespaces.
//!
//! There is no kubelet: a [`Worker`] writes its pod's status itself. Its Envoy, if any, is started like a sidecar's,
//! from the static bootstrap, in the pod's cgroup.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use portreeve_agent::envoy::locate;
use tempfile::TempDir;

use crate::cgroup::Cgroups;
use crate::controlplane::ControlPlane;
use crate::envoy::Admin;
use crate::family::Family;
use crate::manifest;
use crate::netns::Bed;
use crate::process::Process;
use crate::{under_test, wait};

mod agents;
mod former;
mod node;
mod pods;
pub mod trust;
mod worker;

pub use node::Node;
pub use trust::Trust;
pub use worker::Worker;

/// Long, because the machine may be busy.
pub const BOUND: Duration = Duration::from_secs(40);

/// The cluster. Everything in it ends on drop.
pub struct Town {
    /// The nodes, ordered by number.
    pub nodes: Vec<Node>,
    /// The hub. `None` after it was killed.
    pub hub: Option<Process>,
    /// A client for the cluster's administrator.
    pub client: Client,
    /// Additional arguments for agents that are started from now on.
    pub agent_args: Vec<String>,
    /// The pods' cgroups, if they can be created.
    pub cgroups: Option<Cgroups>,
    /// Certificates of the hub and rights of hub and agents.
    pub trust: Trust,
    hub_address: Option<SocketAddr>,
    family: Family,
    dir: TempDir,
    envoy: PathBuf,
    /// The network.
    pub bed: Bed,
    /// The API server and its store. Dropped last, because another town may use it immediately afterwards.
    pub control: ControlPlane,
}

// === impl Town ===

impl Town {
    /// Starts a cluster of `nodes` nodes labelled `node: n<i>` and `role: gateway`, with a hub, and an agent on each
    /// node.
    ///
    /// # Errors
    /// Returns an error if a part doesn't start in time. Its log is printed.
    pub async fn start(nodes: u8) -> Result<Self> {
        let mut town = Self::without_portreeve(nodes).await?;
        town.start_hub()?;
        for index in 0..town.nodes.len() {
            town.start_agent(index)?;
        }
        Ok(town)
    }

    /// Starts a cluster without hub and agents.
    ///
    /// # Errors
    /// See [`Town::start`].
    pub async fn without_portreeve(nodes: u8) -> Result<Self> {
        let (bed, control) = ControlPlane::shared(install).await?;
        Self::in_network(bed, control, 1..=nodes).await
    }

    /// Starts another cluster without hub and agents in the same network, with nodes of these numbers.
    ///
    /// # Errors
    /// See [`Town::start`].
    pub async fn beside(&self, numbers: RangeInclusive<u8>) -> Result<Self> {
        let control = ControlPlane::start_in(&self.bed).await?;
        install(&control).await?;
        Self::in_network(self.bed.clone(), control, numbers).await
    }

    async fn in_network(bed: Bed, control: ControlPlane, numbers: RangeInclusive<u8>) -> Result<Self> {
        let envoy = locate(None, &mut |step| eprintln!("{step}"))?;
        let client = control.client()?;
        // A short path, because it contains Unix sockets.
        let dir = tempfile::Builder::new().prefix("pr-").tempdir()?;
        let trust = Trust::new(dir.path())?;
        let family = Family::new()?;
        let mut town = Self {
            nodes: Vec::new(),
            hub: None,
            client,
            agent_args: Vec::new(),
            cgroups: cgroups(),
            trust,
            hub_address: None,
            family,
            dir,
            envoy,
            bed,
            control,
        };
        for number in numbers {
            town.add_node(number).await?;
        }
        Ok(town)
    }

    /// Starts or restarts the hub, on the same port as before.
    ///
    /// # Errors
    /// Returns an error if it doesn't begin to serve in time.
    pub fn start_hub(&mut self) -> Result<()> {
        let mut hub = self.spawn_hub("hub", self.hub_address)?;
        self.hub_address = Some(serving_at(&mut hub)?);
        self.hub = Some(hub);
        Ok(())
    }

    /// Starts another hub. Without `address`, it uses a free port.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn spawn_hub(&self, name: &str, address: Option<SocketAddr>) -> Result<Process> {
        let mut command = under_test::command_in(self.bed.root(), "hub")?;
        let any = SocketAddr::new(self.bed.root().v4(), 0);
        // `scenarios/shipped.rs` explains each difference from the shipped arguments of hub and agents.
        command.args(["--listen", &address.unwrap_or(any).to_string(), "--grace", "2", "--identity", name]);
        command.arg("--kubeconfig").arg(self.control.kubeconfig("hub")?);
        command.args(&self.trust.hub_args).env("NO_COLOR", "1");
        Process::spawn(name, &command)
    }

    /// Applies manifests as the administrator.
    ///
    /// # Errors
    /// Returns an error if the server rejects one.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        manifest::apply(&self.client, yaml).await.map(drop)
    }

    /// Deletes the objects in manifests.
    ///
    /// # Errors
    /// Returns an error if the server rejects a request.
    pub async fn delete(&self, yaml: &str) -> Result<()> {
        manifest::delete(&self.client, yaml).await
    }

    /// Creates a NodeProxy `gateway` labelled `app: envoy-ingress` on every node with `role: gateway`, and waits until
    /// it runs.
    ///
    /// # Errors
    /// Returns an error if the server rejects it or an Envoy isn't ready in time.
    pub async fn gateways(&self) -> Result<()> {
        self.gateways_wanted().await?;
        for node in &self.nodes {
            node.gateway()
                .wait_ready(BOUND)
                .await
                .with_context(|| format!("the gateway of {}", node.name))?;
        }
        Ok(())
    }

    /// Creates the NodeProxy `gateway` without waiting.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub async fn gateways_wanted(&self) -> Result<()> {
        self.gateways_with("").await
    }

    /// Creates the NodeProxy `gateway` with more fields in its spec: YAML, each indented by two spaces.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub async fn gateways_with(&self, fields: &str) -> Result<()> {
        self.apply(&format!("{GATEWAY}{fields}")).await
    }

    /// Deletes the NodeProxy `gateway`.
    ///
    /// # Errors
    /// Returns an error if the server rejects the request.
    pub async fn gateways_unwanted(&self) -> Result<()> {
        self.delete(GATEWAY).await
    }

    /// Returns a directory with a short path, for the test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the address on which the hub serves agents.
    pub fn hub_address(&self) -> Option<SocketAddr> {
        self.hub_address
    }

    /// Returns the descendants of the agents whose command line contains `text`: keepers and Envoys, which outlive
    /// agents.
    pub fn descendants_with(&self, text: &str) -> Vec<u32> {
        self.family.members_with(text)
    }

    async fn add_node(&mut self, number: u8) -> Result<()> {
        let name = format!("n{number}");
        let labels = format!("{{node: {name}, role: gateway}}");
        self.apply(&format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {labels}}}\n"))
            .await?;
        let run_dir = self.dir.path().join(&name);
        let (kubeconfig, token) = trust::agent(&self.control, &self.client, (&name, self.dir.path())).await?;
        let netns = self.bed.node(number)?;
        self.nodes.push(Node { number, name, netns, agent: None, run_dir, kubeconfig, token });
        Ok(())
    }
}

/// Returns an API server with Portreeve's CRDs and rights, in its own bed, without a town.
///
/// # Errors
/// See [`ControlPlane::shared`].
pub async fn api_server() -> Result<ControlPlane> {
    Ok(ControlPlane::shared(install).await?.1)
}

/// Installs the parts that every town's API server has: Portreeve's CRDs and rights.
async fn install(control: &ControlPlane) -> Result<()> {
    let client = control.client()?;
    tokio::try_join!(control.install_crds(), trust::install_rights(&client)).map(drop)
}

/// Creates cgroups for pods, if the test may.
fn cgroups() -> Option<Cgroups> {
    let cgroups = Cgroups::new();
    if cgroups.is_none() {
        eprintln!("no cgroup can be written here: agents run with --identity=claimed");
    }
    cgroups
}

const GATEWAY: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: gateway}
spec:
  nodeSelector: {role: gateway}
  labels: {app: envoy-ingress}
";

/// Waits until a proxy has exactly these listeners (by the last part of their names), all of them open.
///
/// # Errors
/// Returns an error with the actual listeners after `bound`.
pub async fn listeners(admin: &Admin, wanted: &[&str], bound: Duration) -> Result<()> {
    let mut wanted: Vec<String> = wanted.iter().map(|name| (*name).to_string()).collect();
    wanted.sort();
    let what = format!("the listeners {wanted:?}");
    let wanted = &wanted;
    wait::until(&what, bound, || async move {
        let Ok(found) = admin.listeners().await else { return false };
        let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_string();
        let mut names: Vec<String> = found.iter().map(|(name, _)| last(name)).collect();
        names.sort();
        names == *wanted && (wanted.is_empty() || admin.is_ready().await)
    })
    .await
}

/// Waits until a hub serves, and returns its address.
///
/// # Errors
/// Returns an error after a timeout.
pub fn serving_at(hub: &mut Process) -> Result<SocketAddr> {
    hub.wait_log("serving agents", BOUND)?;
    let log = hub.log();
    let line = log
        .lines()
        .rev()
        .find(|line| line.contains("serving agents"))
        .context("no line of the hub's address")?;
    let text = line.split("address=").nth(1).context("no address in the hub's line")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}
