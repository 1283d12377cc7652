//! Starting a town's agents: normally, in another version, or with a small disk.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Town;
use crate::process::Process;
use crate::under_test;

// === impl Town ===

impl Town {
    /// Starts or restarts a node's agent with the town's hub.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_agent(&mut self, index: usize) -> Result<()> {
        self.start_agent_at(index, self.hub_address.context("the hub must be started first")?)
    }

    /// Sets the Envoy for agents that are started from now on.
    pub fn set_envoy(&mut self, envoy: PathBuf) {
        self.envoy = envoy;
    }

    /// Returns the Envoy of the agents.
    pub fn envoy(&self) -> &Path {
        &self.envoy
    }

    /// Starts or restarts a node's agent with this hub.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_agent_at(&mut self, index: usize, hub: SocketAddr) -> Result<()> {
        let command = under_test::command_in(&self.nodes[index].netns, "agent")?;
        self.start_agent_by(index, hub, command)
    }

    /// Starts or restarts a node's agent without TLS, with a hub that was started with `--insecure`.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_agent_in_the_clear(&mut self, index: usize) -> Result<()> {
        let hub = self.hub_address.context("the hub must be started first")?;
        let command = under_test::command_in(&self.nodes[index].netns, "agent")?;
        let envoy = self.envoy.clone();
        self.start_agent_of(index, (&format!("http://{hub}"), Some(&envoy)), command)
    }

    /// Starts a node's agent of another version, whose translation has other defaults.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_changed_agent(&mut self, index: usize) -> Result<()> {
        let hub = self.hub_address.context("the hub must be started first")?;
        let command = under_test::command_in(&self.nodes[index].netns, "agent-changed")?;
        self.start_agent_by(index, hub, command)
    }

    /// Starts a node's agent from this `portreeve-agent`.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_agent_from(&mut self, index: usize, program: &Path) -> Result<()> {
        let hub = self.hub_address.context("the hub must be started first")?;
        let command = self.nodes[index].netns.command(program);
        self.start_agent_by(index, hub, command)
    }

    /// Starts a node's agent with the rights of the shipped one: root without capabilities.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_confined_agent(&mut self, index: usize) -> Result<()> {
        let hub = self.hub_address.context("the hub must be started first")?;
        let mut command = self.nodes[index].netns.command("setpriv");
        command.args(["--bounding-set", "-all", "--no-new-privs"]).arg(under_test::binary()?).arg("agent");
        self.start_agent_by(index, hub, command)
    }

    /// Starts a node's agent that finds no Envoy and can't download one.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_agent_without_envoy(&mut self, index: usize) -> Result<()> {
        let hub = self.hub_address.context("the hub must be started first")?;
        let mut command = self.nodes[index].netns.command("env");
        command.arg("PATH=").arg(format!("XDG_CACHE_HOME={}", self.dir.path().join("nothing").display()));
        command.arg(under_test::binary()?).arg("agent");
        self.start_agent_of(index, (&format!("https://{hub}"), None), command)
    }

    /// Starts a node's agent whose state directory is a separate disk of `kib` KiB.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_agent_with_disk(&mut self, index: usize, kib: u32) -> Result<()> {
        let hub = self.hub_address.context("the hub must be started first")?;
        let state = self.state_dir(index);
        std::fs::create_dir_all(&state)?;
        let script = format!("mount -t tmpfs -o size={kib}k none \"$0\" && exec \"$@\"");
        let mut command = self.nodes[index].netns.command("unshare");
        command.args(["-m", "sh", "-c", &script]).arg(state).arg(under_test::binary()?).arg("agent");
        self.start_agent_by(index, hub, command)
    }

    /// Starts a node's agent with this folder as its /etc.
    ///
    /// # Errors
    /// Returns an error if it can't be started.
    pub fn start_agent_with_etc(&mut self, index: usize, etc: &Path) -> Result<()> {
        let hub = self.hub_address.context("the hub must be started first")?;
        let script = "mount --bind \"$0\" /etc && exec \"$@\"";
        let mut command = self.nodes[index].netns.command("unshare");
        command.args(["-m", "sh", "-c", script]).arg(etc).arg(under_test::binary()?).arg("agent");
        self.start_agent_by(index, hub, command)
    }

    /// Resizes the disk of [`Town::start_agent_with_disk`].
    ///
    /// # Errors
    /// Returns an error if the agent has no such disk.
    pub fn resize_disk(&self, index: usize, kib: u32) -> Result<()> {
        let agent = self.nodes[index].agent.as_ref().context("no agent")?;
        let mut command = Command::new("nsenter");
        command.args(["-t", &agent.pid().to_string(), "-m", "mount", "-o", &format!("remount,size={kib}k")]);
        let done = command.arg(self.state_dir(index)).output()?;
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// Returns the directory of a node's last known good state, unless its arguments name another.
    pub fn state_dir(&self, index: usize) -> PathBuf {
        self.nodes[index].run_dir.join("state")
    }

    /// Returns the files of a kind in a node's last known good state, such as `plan`.
    pub fn kept(&self, index: usize, kind: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.state_dir(index)).into_iter().flatten().flatten();
        let ours = entries.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&format!("{kind}-")) && !name.contains('.')
        });
        ours.collect()
    }

    fn start_agent_by(&mut self, index: usize, hub: SocketAddr, command: Command) -> Result<()> {
        let (hub, envoy) = (format!("https://{hub}"), self.envoy.clone());
        self.start_agent_of(index, (&hub, Some(&envoy)), command)
    }

    /// Starts an agent with this Envoy, or with the one that it finds.
    fn start_agent_of(
        &mut self,
        index: usize,
        (hub, envoy): (&str, Option<&Path>),
        mut command: Command,
    ) -> Result<()> {
        if let Some(envoy) = envoy {
            command.env("PORTREEVE_ENVOY", envoy);
        }
        let node = &self.nodes[index];
        command.args(["run", "--node", &node.name, "--drain", "0"]);
        command.args(["--hub", hub]).arg("--run-dir").arg(&node.run_dir);
        command.arg("--hub-ca").arg(&self.trust.authority).arg("--hub-token").arg(&node.token);
        command.arg("--kubeconfig").arg(&node.kubeconfig);
        if self.cgroups.is_none() {
            command.args(["--identity", "claimed"]);
        }
        command.args(&self.agent_args);
        command.env("NO_COLOR", "1");
        self.family.mark(&mut command);
        self.nodes[index].agent = Some(Process::spawn(&format!("agent-{}", node.name), &command)?);
        Ok(())
    }
}
