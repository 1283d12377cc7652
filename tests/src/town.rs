//! A whole small cluster: an API server, hub and agents as separate processes, nodes and pods as namespaces.
//!
//! There is no kubelet: a [`Worker`] writes its pod's status itself, and its Envoy (if it has one) is started as a
//! sidecar would be, from the static bootstrap, in the pod's cgroup.

use std::net::SocketAddr;
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
mod node;
mod pods;
pub mod trust;
mod worker;

pub use node::Node;
pub use trust::Trust;
pub use worker::Worker;

/// Generous: the machine may be busy.
pub const BOUND: Duration = Duration::from_secs(40);

/// The cluster; everything in it ends when it is dropped.
pub struct Town {
    /// Its nodes, in order of their numbers.
    pub nodes: Vec<Node>,
    /// The hub, unless it was killed.
    pub hub: Option<Process>,
    /// A client of its administrator.
    pub client: Client,
    /// Arguments of agents that are started from now on, beside the town's own.
    pub agent_args: Vec<String>,
    /// Where the pods' cgroups are, if they can be made.
    pub cgroups: Option<Cgroups>,
    /// What hub and agents prove themselves with.
    pub trust: Trust,
    hub_address: Option<SocketAddr>,
    family: Family,
    dir: TempDir,
    envoy: PathBuf,
    /// Its network.
    pub bed: Bed,
    /// The API server and its store. Last: another town may have it as soon as it is dropped.
    pub control: ControlPlane,
}

// === impl Town ===

impl Town {
    /// A cluster of `nodes` nodes labelled `node: n<i>` and `role: gateway`, with a hub and an agent on each.
    ///
    /// # Errors
    /// Something didn't start in time; its log is printed.
    pub async fn start(nodes: u8) -> Result<Self> {
        let mut town = Self::without_portreeve(nodes).await?;
        town.start_hub()?;
        for index in 0..town.nodes.len() {
            town.start_agent(index)?;
        }
        Ok(town)
    }

    /// The same without hub and agents.
    ///
    /// # Errors
    /// As for [`Town::start`].
    pub async fn without_portreeve(nodes: u8) -> Result<Self> {
        let envoy = locate(None, &mut |step| eprintln!("{step}"))?;
        let (bed, control) = ControlPlane::shared(install).await?;
        let client = control.client()?;
        // Short: Unix sockets live in it.
        let dir = tempfile::Builder::new().prefix("pr-").tempdir()?;
        let trust = Trust::new(dir.path())?;
        let (family, nodes) = (Family::new()?, nodes);
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
        for number in 1..=nodes {
            town.add_node(number).await?;
        }
        Ok(town)
    }

    /// Starts the hub (again), on the port that it had before.
    ///
    /// # Errors
    /// It doesn't say that it serves.
    pub fn start_hub(&mut self) -> Result<()> {
        let mut hub = self.spawn_hub("hub", self.hub_address)?;
        self.hub_address = Some(serving_at(&mut hub)?);
        self.hub = Some(hub);
        Ok(())
    }

    /// Starts a hub beside the town's own; `address` none: a port of the kernel's choice.
    ///
    /// # Errors
    /// It can't be started.
    pub fn spawn_hub(&self, name: &str, address: Option<SocketAddr>) -> Result<Process> {
        let mut command = under_test::command_in(self.bed.root(), "hub")?;
        let any = SocketAddr::new(self.bed.root().v4(), 0);
        // Why these differ from what ships, `scenarios/shipped.rs` says; so it does of an agent's.
        command.args(["--listen", &address.unwrap_or(any).to_string(), "--grace", "2", "--identity", name]);
        command.arg("--kubeconfig").arg(self.control.kubeconfig("hub")?);
        command.args(&self.trust.hub_args).env("NO_COLOR", "1");
        Process::spawn(name, &command)
    }

    /// Applies manifests as the administrator.
    ///
    /// # Errors
    /// The server refuses one.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        manifest::apply(&self.client, yaml).await.map(drop)
    }

    /// Deletes what manifests name.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn delete(&self, yaml: &str) -> Result<()> {
        manifest::delete(&self.client, yaml).await
    }

    /// A NodeProxy `gateway` labelled `app: envoy-ingress` on every node with `role: gateway`.
    ///
    /// # Errors
    /// The server refuses, or an Envoy is not ready in time.
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

    /// The same NodeProxy, whoever runs it.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn gateways_wanted(&self) -> Result<()> {
        self.gateways_with("").await
    }

    /// The same NodeProxy with more fields in its spec: YAML, each at two spaces.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn gateways_with(&self, fields: &str) -> Result<()> {
        self.apply(&format!("{GATEWAY}{fields}")).await
    }

    /// It is gone again.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn gateways_unwanted(&self) -> Result<()> {
        self.delete(GATEWAY).await
    }

    /// A directory for a test's own files, with a short path.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the hub serves agents.
    pub fn hub_address(&self) -> Option<SocketAddr> {
        self.hub_address
    }

    /// What the agents started, and that started, as far as the command line holds `text`: keepers and Envoys, which
    /// outlive agents.
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

/// A town's API server without a town: one with Portreeve's definitions and rights, in a bed that it keeps.
///
/// # Errors
/// As for [`ControlPlane::shared`].
pub async fn api_server() -> Result<ControlPlane> {
    Ok(ControlPlane::shared(install).await?.1)
}

/// What every town's API server has from the beginning: Portreeve's definitions and rights.
async fn install(control: &ControlPlane) -> Result<()> {
    let client = control.client()?;
    tokio::try_join!(control.install_crds(), trust::install_rights(&client)).map(drop)
}

/// Cgroups for pods, where the test may make them.
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

/// Waits until a proxy has exactly these listeners, by the name's last part, all of them bound.
///
/// # Errors
/// It has others when the time is over: they are named.
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
        names == *wanted
    })
    .await
}

/// Waits until a hub serves, and says where.
///
/// # Errors
/// It doesn't say so in time.
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
