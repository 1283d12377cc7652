//! Real Kubernetes on this machine: a control plane with its controllers, and nodes with containerd, kubelet and kube-proxy.
//!
//! Entry point: [`Cluster::start`]. Everything is on a [`Bed`] of its own, so several clusters can run at once: 10.77.0.1 is
//! the API server, node `i` (from 0) is 10.77.(i+1).1 with pods from 10.244.(i+1).0/24, Services are from 10.96.0.0/16 and
//! [`Cluster::outside`] is 10.77.99.1. There is no name server: pods reach Services by address.
//!
//! It needs root and Debian's packages of containerd ([`crate::packages`]). Cgroups may be of version 1 or 2; on version 2
//! alone it has not run yet. Nothing is left when it is dropped; when the test is killed, cgroups stay until the next one.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use tempfile::TempDir;

use crate::assets::{self, NodeAssets};
use crate::controlplane::ControlPlane;
use crate::netns::{Bed, Netns};
use crate::packages::{self, Wanted};
use crate::process::Process;

mod archive;
mod cgroups;
mod disk;
mod evidence;
mod image;
mod node;
mod pod;
mod rollout;

pub use image::{BUSYBOX, Image};
pub use node::Node;
pub use pod::PodSite;

/// What the nodes and their images are made of.
const NEEDED: [Wanted<'_>; 6] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("iptables", "iptables"),
    (BUSYBOX, "busybox-static"),
];
/// Where the client outside of the cluster is on the bed.
const OUTSIDE: u8 = 99;
/// How long the nodes may take to be Ready; measured 5 s.
const READY: Duration = Duration::from_secs(120);
/// How many pods that are not ready are shown.
const SHOWN: usize = 6;

/// A running cluster; ended and removed when dropped.
pub struct Cluster {
    /// The nodes. First, since they end before what they depend on.
    nodes: Vec<Node>,
    /// kube-controller-manager and kube-scheduler.
    _controllers: [Process; 2],
    /// The API server and its store.
    plane: ControlPlane,
    /// A client beside the cluster.
    outside: Netns,
    /// Whether something was waited for in vain.
    troubled: AtomicBool,
    /// The programs.
    programs: NodeAssets,
    /// The network.
    bed: Bed,
}

// === impl Cluster ===

impl Cluster {
    /// Starts a cluster of so many nodes (1 to 90) and waits until all are Ready and pods may be made in `default`.
    ///
    /// # Errors
    /// A program is missing and can't be had, this is not root, or something is not ready in time: logs are printed.
    pub async fn start(nodes: usize) -> Result<Self> {
        ensure!((1..=90).contains(&nodes), "1 to 90 nodes are possible");
        ensure!(nix::unistd::geteuid().is_root(), "nodes need root of the machine: run this test as root");
        packages::need(&NEEDED)?;
        let programs = assets::nodes()?;
        let bed = Bed::new()?;
        let names: Vec<String> = (0..nodes).map(|index| format!("node-{index}")).collect();
        let pause = TempDir::new()?;
        let archive = pause.path().join("pause.tar");
        Image::busybox(disk::PAUSE).write(&archive)?;
        let starting = start_nodes(&bed, &names, (&programs, &archive))?;
        let outside = bed.node(OUTSIDE)?;
        let plane = ControlPlane::start_for(&bed, names).await?;
        let controllers = [controller_manager(&plane, &programs)?, scheduler(&plane, &programs)?];
        let started = futures::future::join_all(starting).await.into_iter();
        let nodes = started.map(|node| node?).collect::<Result<Vec<Node>>>()?;
        let troubled = AtomicBool::new(false);
        let cluster = Self { nodes, _controllers: controllers, plane, outside, troubled, programs, bed };
        cluster.settle().await?;
        Ok(cluster)
    }

    /// Lets the nodes in and waits for them.
    async fn settle(&self) -> Result<()> {
        let proxy = self.plane.kubeconfig("proxy")?;
        for node in &self.nodes {
            node.admit(&self.plane.kubeconfig(node.name())?, &proxy)?;
        }
        self.nodes_ready(READY).await?;
        let client = self.client()?;
        self.within("the ServiceAccount of namespace default", READY, rollout::namespace(&client, "default"))
            .await
    }

    /// A new client for the administrator. It keeps connections, so it belongs to the runtime that made it.
    ///
    /// # Errors
    /// None is expected: the configuration is ours.
    pub fn client(&self) -> Result<Client> {
        self.plane.client()
    }

    /// The API server: further users, tokens, CRDs, outages.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The same, to kill and revive it.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// The administrator's kubeconfig for programs beside the test.
    ///
    /// # Errors
    /// The control plane's directory can't be written.
    pub fn kubeconfig_path(&self) -> Result<PathBuf> {
        self.plane.kubeconfig_outside()
    }

    /// Runs kubectl as the administrator, and returns what it said.
    ///
    /// # Errors
    /// It failed: with its words.
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.programs.kubectl);
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig_path()?)
            .args(["--request-timeout", "30s"])
            .args(words);
        let done = command.output().context("running kubectl")?;
        let words = words.join(" ");
        ensure!(done.status.success(), "kubectl {words}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// The nodes, by their numbers from 0.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node, by its number from 0. A number that is none is the test's mistake and panics.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The same, to switch it off and on.
    pub fn node_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// A node by its name.
    ///
    /// # Errors
    /// There is none.
    pub fn node_named(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == name).with_context(|| format!("no node {name}"))
    }

    /// A client beside the cluster: it reaches nodes, not pods and not Services' own addresses.
    pub fn outside(&self) -> &Netns {
        &self.outside
    }

    /// The network, for cutting nodes off.
    pub fn bed(&self) -> &Bed {
        &self.bed
    }

    /// Puts an archive's images on every node, all at once.
    ///
    /// # Errors
    /// As for [`Node::import`].
    pub fn import(&self, archive: &Path) -> Result<()> {
        std::thread::scope(|scope| {
            let importing: Vec<_> =
                self.nodes.iter().map(|node| scope.spawn(|| node.import(archive))).collect();
            importing
                .into_iter()
                .try_for_each(|one| one.join().unwrap_or_else(|_| bail!("an import panicked")))
        })
    }

    /// Writes images and puts them on every node.
    ///
    /// # Errors
    /// As for [`Image::write`] and [`Node::import`].
    pub fn load(&self, images: &[Image]) -> Result<()> {
        let directory = TempDir::new()?;
        for image in images {
            let archive = directory.path().join("image.tar");
            image.write(&archive)?;
            self.import(&archive)?;
        }
        Ok(())
    }

    /// Applies every document of `yaml` as the administrator.
    ///
    /// # Errors
    /// As for [`crate::manifest::apply`].
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        self.plane.apply(yaml).await
    }

    /// Waits until all nodes that are on are Ready.
    ///
    /// # Errors
    /// One is not after `bound`.
    pub async fn nodes_ready(&self, bound: Duration) -> Result<()> {
        let names: Vec<_> =
            self.nodes.iter().filter(|node| node.is_on()).map(|node| node.name().to_owned()).collect();
        let client = self.client()?;
        self.within("Ready nodes", bound, rollout::nodes(&client, &names, true)).await
    }

    /// Waits until the control plane knows that a node is gone (about 15 s after its last sign of life).
    ///
    /// # Errors
    /// It does not after `bound`.
    pub async fn node_lost(&self, index: usize, bound: Duration) -> Result<()> {
        let (client, name) = (self.client()?, [self.node(index).name().to_owned()]);
        self.within(&format!("{} not to be Ready", name[0]), bound, rollout::nodes(&client, &name, false))
            .await
    }

    /// Waits until all pods of a `daemonset`, `deployment` or `statefulset` are of its newest template and available.
    ///
    /// # Errors
    /// They are not after `bound`.
    pub async fn rolled_out(&self, kind: &str, ns: &str, name: &str, bound: Duration) -> Result<()> {
        let client = self.client()?;
        self.within(&format!("{kind} {ns}/{name}"), bound, rollout::workload(&client, (kind, ns, name))).await
    }

    /// Waits until there is no pod with these labels.
    ///
    /// # Errors
    /// There is one after `bound`.
    pub async fn pods_gone(&self, ns: &str, labels: &str, bound: Duration) -> Result<()> {
        let client = self.client()?;
        let waiting = rollout::no_pods(&client, ns, labels);
        self.within(&format!("the end of pods {labels} in {ns}"), bound, waiting).await
    }

    /// Waits for anything with a bound, and shows the cluster when it does not come.
    ///
    /// # Errors
    /// It failed, or has not come after `bound`.
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

    /// The state of things for a reader: nodes, pods, the latest events, and what pods that are not ready have written.
    pub fn evidence(&self) -> String {
        let brief = ["--request-timeout", "5s"];
        let ask = |words: &[&str]| {
            self.kubectl(&[&brief, words].concat()).unwrap_or_else(|error| format!("{error:#}\n"))
        };
        let events = ask(&["get", "events", "-A", "--sort-by=.lastTimestamp", "--no-headers"]);
        let mut shown = ask(&["get", "nodes", "-o", "wide"]) + &ask(&["get", "pods", "-A", "-o", "wide"]);
        shown.extend(events.lines().rev().take(20).map(|line| format!("{line}\n")));
        let uids = ask(&["get", "pods", "-A", "-o", UNREADY]);
        for uid in uids.split_whitespace().take(SHOWN) {
            shown.extend(self.nodes.iter().map(|node| node.log_of_pod(uid)));
        }
        shown
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() || *self.troubled.get_mut() {
            eprintln!("{}", self.evidence());
        }
        // All at once; each waits for the kernel.
        std::thread::scope(|scope| {
            for node in self.nodes.drain(..) {
                scope.spawn(move || drop(node));
            }
        });
    }
}

/// The uids of pods that have a container that is not ready, or none yet.
const UNREADY: &str = "go-template={{range .items}}{{$ready := false}}{{range .status.conditions}}\
                       {{if and (eq .type \"Ready\") (eq .status \"True\")}}{{$ready = true}}{{end}}{{end}}\
                       {{if not $ready}}{{.metadata.uid}} {{end}}{{end}}";

/// A node that is being started.
type Starting = tokio::task::JoinHandle<Result<Node>>;

/// Wires the nodes up and begins to start them, all at once and each with the image that every pod needs.
fn start_nodes(
    bed: &Bed,
    names: &[String],
    (programs, pause): (&NodeAssets, &Path),
) -> Result<Vec<Starting>> {
    let programs = programs.kubelet.parent().context("a program is in a directory")?;
    let numbers: Vec<u8> = (1..).take(names.len()).collect();
    let netns = numbers.iter().map(|number| bed.node(*number)).collect::<Result<Vec<_>>>()?;
    let routes: Vec<_> = numbers.iter().map(|number| (*number, route(*number))).collect();
    bed.root().ip(&routes.iter().map(|(_, line)| line.clone()).collect::<Vec<_>>())?;
    let mut starting = Vec::new();
    for ((number, netns), name) in numbers.into_iter().zip(netns).zip(names) {
        let others = routes.iter().filter(|(other, _)| *other != number).map(|(_, line)| line.clone());
        // Services' addresses have no route of their own: without this one nothing is sent that could be translated.
        let default = format!("route add default via {}", crate::netns::HUB_V4);
        netns.ip(&others.chain([default]).collect::<Vec<_>>())?;
        let (name, programs, pause) = (name.clone(), programs.to_owned(), pause.to_owned());
        starting.push(tokio::task::spawn_blocking(move || {
            let node = Node::new(name, number, (netns, &programs))?;
            node.import(&pause)?;
            Ok(node)
        }));
    }
    Ok(starting)
}

/// The way to a node's pods.
fn route(number: u8) -> String {
    format!("route add {} via {}", disk::pods(number), Ipv4Addr::new(10, 77, number, 1))
}

/// Nodes are looked at often, so that a dead one is seen in seconds.
fn controller_manager(plane: &ControlPlane, programs: &NodeAssets) -> Result<Process> {
    let kubeconfig = format!("--kubeconfig={}", plane.kubeconfig("controller-manager")?.display());
    let command = plane.companion(
        &programs.controller_manager,
        &[
            &kubeconfig,
            "--use-service-account-credentials",
            "--service-account-private-key-file={directory}sa.key",
            "--root-ca-file={directory}ca.pem",
            "--leader-elect=false",
            "--secure-port=0",
            // Each controller asks for a token first: at the usual 20 requests per second that takes 4 s.
            "--kube-api-qps=500",
            "--kube-api-burst=500",
            "--node-monitor-period=1s",
            "--node-monitor-grace-period=15s",
        ],
    );
    Process::spawn("controller-manager", &command)
}

fn scheduler(plane: &ControlPlane, programs: &NodeAssets) -> Result<Process> {
    let kubeconfig = format!("--kubeconfig={}", plane.kubeconfig("scheduler")?.display());
    let command =
        plane.companion(&programs.scheduler, &[&kubeconfig, "--leader-elect=false", "--secure-port=0"]);
    Process::spawn("scheduler", &command)
}
