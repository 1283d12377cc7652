//! Real Kubernetes on this machine: a control plane with its controllers, and nodes with containerd, kubelet and
//! kube-proxy.
//!
//! Entry point: [`Cluster::start`]. Each cluster has its own [`Bed`], so several can run at once. The API server is at
//! 10.77.0.1. Node `i` (from 0) is 10.77.(i+1).1 with pods from 10.244.(i+1).0/24, Services are from 10.96.0.0/16, and
//! [`Cluster::outside`] is 10.77.99.1. Pods resolve the names of Services with the harness's own DNS server at
//! 10.77.0.1.
//!
//! A node needs 45 MB of memory and 14 MB for each pod, a control plane 460 MB.
//!
//! The cluster needs root and Debian's packages of containerd ([`crate::packages`]). Cgroups may be of version 1 or 2
//! ([`View`]); it was never run on a machine whose version 2 has all controllers. Everything is removed on drop; if the
//! test is killed, its cgroups stay until the next test.

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

/// Debian packages that nodes and their images need.
const NEEDED: [Wanted<'_>; 7] = [
    ("python3", "python3-minimal"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("iptables", "iptables"),
    (BUSYBOX, "busybox-static"),
];
/// Number of the outside client on the bed.
const OUTSIDE: u8 = 99;
/// Timeout for the nodes to be Ready. Measured: 4 s from nothing for one to three nodes, 13 s on a machine with a load
/// of 9.
const READY: Duration = Duration::from_secs(120);
/// Maximum number of unready pods that are shown.
const SHOWN: usize = 6;

/// Arguments of kubectl that list warning events, the latest last.
const EVENTS: [&str; 7] =
    ["get", "events", "-A", "--no-headers", "--sort-by=.lastTimestamp", "--field-selector", "type=Warning"];
/// A template that prints the uids of pods that are not Ready.
const UNREADY: &str = "go-template={{range .items}}{{$ready := false}}{{range .status.conditions}}\
                       {{if and (eq .type \"Ready\") (eq .status \"True\")}}{{$ready = true}}{{end}}{{end}}\
                       {{if not $ready}}{{.metadata.uid}} {{end}}{{end}}";

/// A running cluster, which ends and is removed on drop.
pub struct Cluster {
    /// The nodes. They are dropped first, before the parts that they depend on.
    nodes: Vec<Node>,
    /// kube-controller-manager and kube-scheduler.
    _controllers: [Process; 2],
    /// The API server and its store.
    plane: ControlPlane,
    /// The DNS server for Services.
    _names: names::Names,
    /// A client outside the cluster.
    outside: Netns,
    /// Whether a wait has timed out.
    troubled: AtomicBool,
    /// The programs.
    programs: NodeAssets,
    /// The network.
    bed: Bed,
}

// === impl Cluster ===

impl Cluster {
    /// Starts a cluster with 1 to 90 nodes, and waits until all are Ready and pods can be created in `default`.
    ///
    /// # Errors
    /// Returns an error if a program is missing and can't be built, if this process isn't root, or if a part isn't
    /// ready in time. Logs are printed.
    pub async fn start(nodes: usize) -> Result<Self> {
        Self::start_with(&vec![View::Machine; nodes]).await
    }

    /// Like [`Cluster::start`], with one node for each of these views of the machine's cgroups.
    ///
    /// # Errors
    /// See [`Cluster::start`].
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

    /// Admits the nodes and waits until they are Ready.
    async fn settle(&self) -> Result<()> {
        let proxy = self.plane.kubeconfig("proxy")?;
        for node in &self.nodes {
            node.admit(&self.plane.kubeconfig(node.name())?, &proxy)?;
        }
        self.nodes_ready(READY).await?;
        self.namespace_ready("default", READY).await
    }

    /// Returns a new client for the administrator. It keeps connections, so it must be used in the runtime that created
    /// it.
    ///
    /// # Errors
    /// No error is expected.
    pub fn client(&self) -> Result<Client> {
        self.plane.client()
    }

    /// Returns the API server, to create users, tokens, CRDs and outages.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Returns the API server, to kill and restart it.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// Returns the path of the administrator's kubeconfig for programs outside the bed.
    ///
    /// # Errors
    /// Returns an error if the control plane's directory can't be written.
    pub fn kubeconfig_path(&self) -> Result<PathBuf> {
        self.plane.kubeconfig_outside()
    }

    /// Runs kubectl as the administrator, and returns its output.
    ///
    /// # Errors
    /// Returns kubectl's error output if it fails.
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

    /// Returns the nodes, by their numbers from 0.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns a node by its number from 0. Panics for a wrong number, which is a bug of the test.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Returns a node, to switch it off and on.
    pub fn node_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// Returns a node by its name.
    ///
    /// # Errors
    /// Returns an error if there is no such node.
    pub fn node_named(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == name).with_context(|| format!("no node {name}"))
    }

    /// Returns the client outside the cluster. It can reach nodes, but neither pods nor cluster IPs of Services.
    pub fn outside(&self) -> &Netns {
        &self.outside
    }

    /// Returns the network, to disconnect nodes.
    pub fn bed(&self) -> &Bed {
        &self.bed
    }

    /// Imports an archive's images on every node, concurrently.
    ///
    /// # Errors
    /// See [`Node::import`].
    pub fn import(&self, archive: &Path) -> Result<()> {
        std::thread::scope(|scope| {
            let importing: Vec<_> =
                self.nodes.iter().map(|node| scope.spawn(|| node.import(archive))).collect();
            importing
                .into_iter()
                .try_for_each(|one| one.join().unwrap_or_else(|_| bail!("an import panicked")))
        })
    }

    /// Writes images and imports them on every node.
    ///
    /// # Errors
    /// See [`Image::write`] and [`Node::import`].
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
    /// See [`crate::manifest::apply`].
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        self.plane.apply(yaml).await
    }

    /// Returns the cluster's state as text: nodes, pods, the latest warnings, and the logs of pods that are not ready.
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
        // Concurrently, because each waits for the kernel.
        std::thread::scope(|scope| {
            for node in self.nodes.drain(..) {
                scope.spawn(move || drop(node));
            }
        });
    }
}
