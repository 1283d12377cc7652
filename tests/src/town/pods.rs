//! Making the pods of a town and starting their Envoys.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use portreeve_keeper::envoy::{Bootstrap, Family as Wildcard};

use super::{Town, Worker};
use crate::envoy::Admin;
use crate::netns::Netns;
use crate::process::Process;
use crate::udp::Echo;

// === impl Town ===

impl Town {
    /// Creates a running, ready pod `j` on node `i` (numbers from 1) with these labels, and an Envoy if `sidecar`.
    ///
    /// # Errors
    /// Returns an error if the server rejects it or the Envoy can't be started.
    pub async fn worker(&self, i: u8, j: u8, labels: &str, sidecar: bool) -> Result<Worker> {
        let netns = self.bed.pod(i, j)?;
        let bound = format!("nodeName: n{i}, ");
        let mut worker = self.pod(&format!("w{i}-{j}"), netns, labels, &bound).await?;
        if sidecar {
            self.start_sidecar(&mut worker, usize::from(i) - 1)?;
        }
        Ok(worker)
    }

    /// Creates a running, ready pod `j` on node `i` with these labels and a container named `l7mp`. Its proxy is not started.
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub async fn mesh_worker(&self, i: u8, j: u8, labels: &str) -> Result<Worker> {
        let bound = format!("nodeName: n{i}, initContainers: [{{name: l7mp, image: i}}], ");
        self.pod(&format!("w{i}-{j}"), self.bed.pod(i, j)?, labels, &bound).await
    }

    /// Creates a pod `j` in the network of node `i` that isn't scheduled yet, see [`Worker::bind`].
    ///
    /// # Errors
    /// Returns an error if the server rejects it.
    pub async fn unbound_worker(&self, i: u8, j: u8, labels: &str) -> Result<Worker> {
        self.pod(&format!("w{i}-{j}"), self.bed.pod(i, j)?, labels, "").await
    }

    /// Creates a running, ready pod with `hostNetwork` on node `i`, with these labels and an Envoy.
    ///
    /// # Errors
    /// See [`Town::worker`].
    pub async fn host_worker(&self, i: u8, labels: &str) -> Result<Worker> {
        let index = usize::from(i) - 1;
        let netns = self.nodes[index].netns.clone();
        let bound = format!("hostNetwork: true, nodeName: n{i}, ");
        let mut worker = self.pod(&format!("h{i}"), netns, labels, &bound).await?;
        self.start_sidecar(&mut worker, index)?;
        Ok(worker)
    }

    /// Creates a pod with these labels. `spec` begins its specification.
    async fn pod(&self, name: &str, netns: Netns, labels: &str, spec: &str) -> Result<Worker> {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{{labels}}}}}\n\
             spec: {{{spec}terminationGracePeriodSeconds: 30, containers: [{{name: c, image: i}}]}}\n"
        );
        self.apply(&pod).await?;
        let stored = Api::<Pod>::namespaced(self.client.clone(), "default").get(name).await?;
        let uid = stored.metadata.uid.context("a stored pod without uid")?;
        let admin = Admin::new(self.dir.path().join(format!("{name}.admin")));
        let (name, ips) = (name.to_string(), vec![netns.v4()]);
        let container = self.cgroups.as_ref().map(|cgroups| cgroups.container(&uid)).transpose()?;
        let client = self.client.clone();
        let worker = Worker { name, uid, netns, ips, envoy: None, admin, container, client };
        worker.set_ready(true).await?;
        Ok(worker)
    }

    /// Starts a pod's Envoy, connected to the agent of node `index` (from 0).
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_sidecar(&self, worker: &mut Worker, index: usize) -> Result<()> {
        let uid = worker.uid.clone();
        self.start_sidecar_as(worker, index, &uid)
    }

    /// Starts a pod's Envoy with the given `node.id`.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_sidecar_as(&self, worker: &mut Worker, index: usize, node_id: &str) -> Result<()> {
        let admin = self.dir.path().join(format!("{}.admin", worker.name));
        let bootstrap = Bootstrap {
            node_id: node_id.into(),
            node_cluster: "default".into(),
            ads_socket: self.nodes[index].run_dir.join("agent.sock"),
            admin_socket: admin,
            health_listener: None,
            wildcard: Wildcard::V4,
        };
        let path = self.dir.path().join(format!("{}.json", worker.name));
        std::fs::write(&path, bootstrap.render()?.to_string())?;
        let mut command = match &worker.container {
            Some(container) => container.command(&worker.netns, &self.envoy),
            None => worker.netns.command(&self.envoy),
        };
        command.arg("-c").arg(&path).args(sidecar_flags()?).args(["-l", "warning"]);
        worker.envoy = Some(Process::spawn(&format!("envoy-{}", worker.name), &command)?);
        Ok(())
    }

    /// Creates the pods 1 to `count` of node `i`, each with an echo of its name at `port`.
    ///
    /// # Errors
    /// See [`Town::worker`]; also returns an error if the port is taken.
    pub async fn answering_workers(&self, i: u8, count: u8, port: u16) -> Result<(Vec<Worker>, Vec<Echo>)> {
        let (mut workers, mut echoes) = (Vec::new(), Vec::new());
        for j in 1..=count {
            let worker = self.worker(i, j, "app: worker", false).await?;
            echoes.push(Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), port))?);
            workers.push(worker);
        }
        Ok((workers, echoes))
    }
}

/// Returns the flags of the sidecar image's Envoy after the bootstrap, so that tests use the same flags as users.
fn sidecar_flags() -> Result<Vec<String>> {
    let recipe = include_str!("../../../images/sidecar.Containerfile");
    let words = recipe.lines().find_map(|line| line.strip_prefix("CMD ")).context("no CMD")?;
    let mut words: Vec<String> = serde_json::from_str(words)?;
    ensure!(words.len() > 2 && words[0] == "-c", "{words:?} begins with no bootstrap");
    Ok(words.split_off(2))
}
