//! Envoys with the bootstrap of the control plane that API D replaces: [`Town::start_former_sidecar`].

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Town, Worker};
use crate::kustomize;
use crate::process::Process;

/// The agent's socket in the bootstrap.
const SOCKET: &str =
    "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path";

// === impl Town ===

impl Town {
    /// Starts a pod's Envoy with the bootstrap of `deploy/examples/seed-d-bootstrap` and this name. It has streams for
    /// clusters and listeners to the agent of node `index` (from 0), and no aggregated one.
    ///
    /// # Errors
    /// Returns an error if it can't be started, or if the pod has no cgroup by which the agent knows it.
    pub fn start_former_sidecar(&self, worker: &mut Worker, index: usize, name: &str) -> Result<()> {
        let file = kustomize::deploy().join("examples/seed-d-bootstrap/config-map.yaml");
        let map: Value = serde_yaml::from_str(&std::fs::read_to_string(file)?)?;
        let text = map["data"]["envoy.yaml"].as_str().context("no bootstrap in the ConfigMap")?;
        let mut bootstrap: Value = serde_yaml::from_str(text)?;
        let socket = bootstrap.pointer_mut(SOCKET).context("no socket in the bootstrap")?;
        *socket = serde_json::to_value(self.nodes[index].run_dir.join("agent.sock"))?;
        let admin = self.dir().join(format!("{}.admin", worker.name));
        bootstrap["admin"]["address"] = json!({"pipe": {"path": admin}});
        let path = self.dir().join(format!("{}.yaml", worker.name));
        std::fs::write(&path, serde_yaml::to_string(&bootstrap)?)?;
        let container = worker.container.as_ref().context("no cgroup can be written here")?;
        let mut command = container.command(&worker.netns, self.envoy());
        command.arg("-c").arg(&path).args(["--service-node", name, "--service-cluster", "any"]);
        command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]);
        worker.envoy = Some(Process::spawn(&format!("envoy-{}", worker.name), &command)?);
        Ok(())
    }
}
