//! A node of a cluster: containerd, kubelet and kube-proxy in their own namespaces and cgroups, on a disk that outlives
//! them ([`Node`]).

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroups::{self, Cgroups, View};
use super::disk::Disk;
use super::evidence;
use crate::netns::{Bed, Netns};
use crate::process::Process;
use crate::wait::{wait_for, wait_until};

/// Timeout for containerd to listen. Measured: 0.3 s.
const UP: Duration = Duration::from_secs(60);
/// Timeout for the kernel to end all processes of a node.
const DOWN: Duration = Duration::from_secs(20);

/// A node.
pub struct Node {
    /// The node's name in the cluster.
    name: String,
    /// Its number on the bed.
    number: u8,
    /// The network that it is connected to.
    bed: Bed,
    /// Its network namespace.
    netns: Netns,
    /// Routes to the other nodes' pods and to the outside.
    routes: Vec<String>,
    /// The cgroups that it sees.
    view: View,
    /// Its first process, represented by the parent that ends with it. `None` while the node is off.
    running: Option<Running>,
    /// The directory of its programs.
    programs: PathBuf,
    /// The disk.
    disk: Disk,
}

/// The place of a new node.
pub(super) struct Place {
    pub(super) name: String,
    /// Its number on the bed.
    pub(super) number: u8,
    pub(super) bed: Bed,
    /// Arguments of `ip` inside the node.
    pub(super) routes: Vec<String>,
    pub(super) view: View,
}

/// The processes of a node that is on.
struct Running {
    /// The parent of the first process.
    parent: Process,
    /// The pid of the first process on the machine.
    init: u32,
    /// The cgroups of its processes. They are dropped last, after the processes have ended.
    cgroups: Cgroups,
}

// === impl Node ===

impl Node {
    /// Starts the node with this number on the bed. Its kubelet waits until it is admitted.
    pub(super) fn new(place: Place, programs: &Path) -> Result<Self> {
        let Place { name, number, bed, routes, view } = place;
        let limits = cgroups::limits(view)?;
        if !limits {
            eprintln!("{name}: version 2 of cgroups has no controllers here, so its pods have no limits");
        }
        let (netns, disk, programs) = (bed.node(number)?, Disk::new(number, limits)?, programs.to_owned());
        let mut node = Self { name, number, bed, netns, routes, view, running: None, programs, disk };
        node.run()?;
        Ok(node)
    }

    /// Returns the node's name: `node-0` and so on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the node's address in the cluster's network.
    pub fn address(&self) -> Ipv4Addr {
        match self.netns.v4() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// Returns the node's network: a new one each time it is switched on, the last one while it is off.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Returns the machine's path for a path on the node, while the node is on. An absolute symbolic link in the path
    /// would lead to the machine's own files: use `/run`, not `/var/run`.
    pub fn path(&self, inside: &str) -> PathBuf {
        let init = self.running.as_ref().map_or(0, |running| running.init);
        PathBuf::from(format!("/proc/{init}/root{inside}"))
    }

    /// Returns a command that runs with the node's files, processes and network, outside its cgroups.
    ///
    /// # Errors
    /// Returns an error if the node is off.
    pub fn command(&self, program: &str) -> Result<Command> {
        let running = self.running.as_ref().with_context(|| format!("{} is off", self.name))?;
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--target", &running.init.to_string()]);
        command.args(["--", program]);
        Ok(command)
    }

    /// Imports the images of an archive in the format of `docker save` (see [`super::Image`]) into the node's
    /// containerd.
    ///
    /// # Errors
    /// Returns an error if the node is off or containerd rejects the archive.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let mut command = self.command("ctr")?;
        command.args(["--namespace", "k8s.io", "images", "import", "-"]);
        let given = File::open(archive).with_context(|| archive.display().to_string())?;
        let done = command.stdin(Stdio::from(given)).output()?;
        let words = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "importing {} into {}: {words}", archive.display(), self.name);
        Ok(())
    }

    /// Returns the pids on the machine of the node's processes whose command line (words separated by spaces) meets a
    /// condition.
    pub fn pids(&self, meets: impl Fn(&str) -> bool) -> Vec<u32> {
        let pids = self.processes().into_iter().map(|(pid, _)| pid);
        pids.filter(|pid| command_line(*pid).is_some_and(|line| meets(&line))).collect()
    }

    /// Returns the pids on the machine of a pod's processes, including the one that holds its namespaces.
    pub fn pids_of_pod(&self, uid: &str) -> Vec<u32> {
        let within = format!("pod{uid}");
        let processes = self.processes().into_iter();
        processes
            .filter(|(_, at)| at.components().any(|part| part.as_os_str() == within.as_str()))
            .map(|(pid, _)| pid)
            .collect()
    }

    /// Returns the memory of the node's processes and containers in bytes, without file pages if the kernel counts them
    /// separately.
    pub fn memory(&self) -> Option<u64> {
        self.running.as_ref()?.cgroups.memory()
    }

    fn processes(&self) -> Vec<(u32, PathBuf)> {
        self.running.as_ref().map(|running| running.cgroups.processes()).unwrap_or_default()
    }

    /// Returns whether the node is on.
    pub fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// Returns the ends of its programs' logs.
    pub fn log(&self) -> String {
        let logs =
            self.disk.logs().map(|(name, path)| evidence::tail(&format!("{} on {}", name, self.name), &path));
        logs.collect()
    }

    /// Returns the ends of the logs of a pod's containers.
    pub fn log_of_pod(&self, uid: &str) -> String {
        evidence::pod(&self.disk.pod_logs(), uid)
    }

    /// Kills all processes at once, like a power cut, and waits until they are gone. The disk stays.
    ///
    /// # Errors
    /// Returns an error if the kernel doesn't end them in time.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        // The network goes first, so that ending processes can't send anything.
        self.bed.detach(&self.netns)?;
        // The kernel ends all other processes of the namespace first, then notifies the parent.
        let _ = kill(Pid::from_raw(i32::try_from(running.init)?), Signal::SIGKILL);
        running.parent.wait_exit(DOWN)?;
        let cgroups = &running.cgroups;
        wait_until("the end of a node's last process", DOWN, || cgroups.processes().is_empty())
    }

    /// Switches the node on with its existing disk, and waits for containerd. Until the kubelet reports, the control
    /// plane keeps the last known state, that is Ready unless the test waited for [`super::Cluster::node_lost`].
    ///
    /// # Errors
    /// Returns an error if the node is already on or containerd doesn't listen in time.
    pub fn start(&mut self) -> Result<()> {
        ensure!(!self.is_on(), "{} is on", self.name);
        self.netns = self.bed.node(self.number)?;
        self.run().inspect_err(|_| drop(self.bed.detach(&self.netns)))
    }

    /// Starts the first process in the existing network.
    fn run(&mut self) -> Result<()> {
        self.netns.ip(&self.routes)?;
        let cgroups = Cgroups::new(self.view)?;
        let mut parent = Process::spawn(&self.name, &self.first(&cgroups))?;
        let init = match wait_for("a node's first process", UP, || first_child(&mut parent)) {
            Ok(Some(init)) => init,
            _ => bail!("{} does not start: {}", self.name, parent.log()),
        };
        cgroups.delegate();
        let listening = format!("/proc/{init}/root/run/containerd/containerd.sock");
        let waited = wait_until("containerd", UP, || Path::new(&listening).exists() || !parent.is_running());
        if waited.is_err() || !parent.is_running() {
            bail!("containerd of {} does not listen: {}{}", self.name, parent.log(), self.log());
        }
        self.running = Some(Running { parent, init, cgroups });
        Ok(())
    }

    /// Gives kubelet and kube-proxy their kubeconfigs.
    pub(super) fn admit(&self, kubelet: &Path, proxy: &Path) -> Result<()> {
        self.disk.admit(kubelet, proxy)
    }

    /// Returns the command of the first process.
    fn first(&self, cgroups: &Cgroups) -> Command {
        let mut command = self.netns.command("env");
        command.arg(format!("VIEW={:?}", self.view));
        command.arg(format!("NODE={}", self.name)).arg(format!("ADDRESS={}", self.address()));
        command.arg(format!("DISK={}", self.disk.path().display()));
        command.arg(format!("PROGRAMS={}", self.programs.display()));
        cgroups.enter(&mut command);
        command.args(["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "sh"]);
        command.arg(self.disk.path().join("init.sh"));
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{}: {error:#}", self.name);
        }
        eprintln!("{}", self.log());
    }
}

/// Returns the node's first process once it exists, or `Some(None)` if its parent has ended.
fn first_child(parent: &mut Process) -> Option<Option<u32>> {
    let (pid, running) = (parent.pid(), parent.is_running());
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    // Before the parent becomes `unshare` it runs other programs, and the children of a shell are not the first
    // process.
    let forked = command_line(pid).is_some_and(|line| line.starts_with("unshare --mount"));
    let child = children.split_whitespace().next().filter(|_| forked).and_then(|child| child.parse().ok());
    child.map(Some).or((!running).then_some(None))
}

/// Returns the command line of a process, with spaces between its words.
fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    Some(words.join(" ").trim_end().to_owned())
}
