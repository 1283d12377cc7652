//! Real Kubernetes on this machine: a control plane with its controllers, and nodes with containerd, kubelet and kube-proxy.
//!
//! Entry point: [`Cluster::start`]. Everything is on a [`Bed`] of its own, so several clusters can run at once: 10.77.0.1 is
//! the API server, node `i` (from 0) is 10.77.(i+1).1 with pods from 10.244.(i+1).0/24, Services are from 10.96.0.0/16 and
//! [`Cluster::outside`] is 10.77.99.1. Pods are told Services' names by a name server of the harness' own, at 10.77.0.1.
//!
//! A node takes 45 MB of memory and 14 MB for each pod, a control plane 460 MB.
//!
//! It needs root and Debian's packages of containerd ([`crate::packages`]). Cgroups may be of version 1 or 2 ([`View`]); on a
//! machine whose version 2 has all controllers it has not run yet. Nothing is left when it is dropped; when the test is killed, cgroups stay until the next one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
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
mod controllers;
mod disk;
mod evidence;
mod image;
mod names;
mod node;
mod pod;
mod rollout;
mod wiring;

pub use cgroups::View;
pub use image::{BUSYBOX, Image};
pub use node::Node;
pub use pod::PodSite;

/// What the nodes and their images are made of.
const NEEDED: [Wanted<'_>; 7] = [
    ("python3", "python3-minimal"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("iptables", "iptables"),
    (BUSYBOX, "busybox-static"),
];
/// Where the client outside of the cluster is on the bed.
const OUTSIDE: u8 = 99;
/// How long the nodes may take to be Ready; measured 4 s from nothing for one to three, and 13 s on a machine with a load of 9.
const READY: Duration = Duration::from_secs(120);
/// How many pods that are not ready are shown.
const SHOWN: usize = 6;

/// Asks for what went wrong, the latest last.
const EVENTS: [&str; 7] =
    ["get", "events", "-A", "--no-headers", "--sort-by=.lastTimestamp", "--field-selector", "type=Warning"];
/// The uids of pods that are not Ready.
const UNREADY: &str = "go-template={{range .items}}{{$ready := false}}{{range .status.conditions}}\
                       {{if and (eq .type \"Ready\") (eq .status \"True\")}}{{$ready = true}}{{end}}{{end}}\
                       {{if not $ready}}{{.metadata.uid}} {{end}}{{end}}";

/// A running cluster; ended and removed when dropped.
pub struct Cluster {
    /// The nodes. First, since they end before what they depend on.
    nodes: Vec<Node>,
    /// kube-controller-manager and kube-scheduler.
    _controllers: [Process; 2],
    /// The API server and its store.
    plane: ControlPlane,
    /// Who knows the Services' names.
    _names: names::Names,
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
        Self::start_with(&vec![View::Machine; nodes]).await
    }

    /// The same, with a node for each of these views of the machine's cgroups.
    ///
    /// # Errors
    /// As for [`Cluster::start`].
    pub async fn start_with(views: &[View]) -> Result<Self> {
        ensure!((1..=90).contains(&views.len()), "1 to 90 nodes are possible");
        ensure!(nix::unistd::geteuid().is_root(), "nodes need root of the machine: run this test as root");
        packages::need(&NEEDED)?;
        let programs = assets::nodes()?;
        let bed = Bed::new()?;
        let nodes: Vec<_> =
            views.iter().enumerate().map(|(index, view)| (format!("node-{index}"), *view)).collect();
        let pause = TempDir::new()?;
        let archive = pause.path().join("pause.tar");
        Image::busybox(disk::PAUSE).write(&archive)?;
        let starting = wiring::start(&bed, &nodes, (&programs, &archive))?;
        let outside = bed.node(OUTSIDE)?;
        let names = nodes.into_iter().map(|(name, _)| name).collect();
        let plane = ControlPlane::start_for(&bed, names).await?;
        let names = names::Names::start(bed.root(), plane.client()?)?;
        let controllers = controllers::start(&plane, &programs)?;
        let started = futures::future::join_all(starting).await.into_iter();
        let nodes = started.map(|node| node?).collect::<Result<Vec<Node>>>()?;
        let troubled = AtomicBool::new(false);
        let (_controllers, _names) = (controllers, names);
        let cluster = Self { nodes, _controllers, plane, _names, outside, troubled, programs, bed };
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
        self.namespace_ready("default", READY).await
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

    /// The state of things for a reader: nodes, pods, the latest warnings, and what pods that are not ready have written.
    pub fn evidence(&self) -> String {
        let brief = ["--request-timeout", "5s"];
        let ask = |words: &[&str]| {
            self.kubectl(&[&brief, words].concat()).unwrap_or_else(|error| format!("{error:#}\n"))
        };
        let mut shown = ask(&["get", "nodes", "-o", "wide"]) + &ask(&["get", "pods", "-A", "-o", "wide"]);
        shown += &evidence::warnings(&ask(&EVENTS));
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
