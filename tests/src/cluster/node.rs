//! A node of a cluster: containerd, kubelet and kube-proxy in namespaces and cgroups of their own, on a disk that outlives
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

/// How long containerd may take to listen; measured 0.3 s.
const UP: Duration = Duration::from_secs(60);
/// How long the kernel may take to end everything on a node.
const DOWN: Duration = Duration::from_secs(20);

/// A node.
pub struct Node {
    /// What the cluster knows it as.
    name: String,
    /// Its number on the bed.
    number: u8,
    /// What it is plugged into.
    bed: Bed,
    /// Its network.
    netns: Netns,
    /// The ways to the other nodes' pods, and out.
    routes: Vec<String>,
    /// Which cgroups it sees.
    view: View,
    /// Its first process, seen from outside: the parent that ends with it. None while the node is off.
    running: Option<Running>,
    /// Where its programs are.
    programs: PathBuf,
    /// What it starts from.
    disk: Disk,
}

/// What a node is told when it is made.
pub(super) struct Place {
    pub(super) name: String,
    /// Which node of the bed it is.
    pub(super) number: u8,
    pub(super) bed: Bed,
    /// Lines for `ip` inside.
    pub(super) routes: Vec<String>,
    pub(super) view: View,
}

/// A node that is on.
struct Running {
    /// The parent of the first process.
    parent: Process,
    /// The first process, by the machine's number.
    init: u32,
    /// Where its processes are counted. Last: they must have ended.
    cgroups: Cgroups,
}

// === impl Node ===

impl Node {
    /// Starts the node with this number on the bed; its kubelet waits until it is admitted.
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

    /// Its name: `node-0` and so on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address in the cluster's network.
    pub fn address(&self) -> Ipv4Addr {
        match self.netns.v4() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// Its network: a new one whenever it is switched on, the last one while it is off.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A path of the node as the machine sees it, while the node is on. An absolute symbolic link on the way leads to the
    /// machine's own files: give `/run`, not `/var/run`.
    pub fn path(&self, inside: &str) -> PathBuf {
        let init = self.running.as_ref().map_or(0, |running| running.init);
        PathBuf::from(format!("/proc/{init}/root{inside}"))
    }

    /// A command that will run with the node's files, processes and network, outside of its cgroups.
    ///
    /// # Errors
    /// The node is off.
    pub fn command(&self, program: &str) -> Result<Command> {
        let running = self.running.as_ref().with_context(|| format!("{} is off", self.name))?;
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--target", &running.init.to_string()]);
        command.args(["--", program]);
        Ok(command)
    }

    /// Puts the images of an archive of `docker save`'s form (see [`super::Image`]) into the node's containerd.
    ///
    /// # Errors
    /// The node is off, or containerd refuses.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let mut command = self.command("ctr")?;
        command.args(["--namespace", "k8s.io", "images", "import", "-"]);
        let given = File::open(archive).with_context(|| archive.display().to_string())?;
        let done = command.stdin(Stdio::from(given)).output()?;
        let words = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "importing {} into {}: {words}", archive.display(), self.name);
        Ok(())
    }

    /// The processes on the node whose command line (its words with a space between them) meets the condition, by the
    /// machine's numbers.
    pub fn pids(&self, meets: impl Fn(&str) -> bool) -> Vec<u32> {
        let pids = self.processes().into_iter().map(|(pid, _)| pid);
        pids.filter(|pid| command_line(*pid).is_some_and(|line| meets(&line))).collect()
    }

    /// The processes of a pod, by the machine's numbers; the one that holds its namespaces is among them.
    pub fn pids_of_pod(&self, uid: &str) -> Vec<u32> {
        let within = format!("pod{uid}");
        let processes = self.processes().into_iter();
        processes
            .filter(|(_, at)| at.components().any(|part| part.as_os_str() == within.as_str()))
            .map(|(pid, _)| pid)
            .collect()
    }

    /// Bytes of memory that its processes use, containers included, without the pages of files; where the kernel tells.
    pub fn memory(&self) -> Option<u64> {
        self.running.as_ref()?.cgroups.memory()
    }

    fn processes(&self) -> Vec<(u32, PathBuf)> {
        self.running.as_ref().map(|running| running.cgroups.processes()).unwrap_or_default()
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// The ends of its programs' logs.
    pub fn log(&self) -> String {
        let logs =
            self.disk.logs().map(|(name, path)| evidence::tail(&format!("{} on {}", name, self.name), &path));
        logs.collect()
    }

    /// The ends of what a pod's containers have written.
    pub fn log_of_pod(&self, uid: &str) -> String {
        evidence::pod(&self.disk.pod_logs(), uid)
    }

    /// Kills everything on it at once, as a power cut does, and waits until it is gone. The disk stays.
    ///
    /// # Errors
    /// The kernel does not end it in time.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        // Silence first: what ends must not say goodbye.
        self.bed.detach(&self.netns)?;
        // The kernel ends whatever else is in the namespace first, then the parent is told.
        let _ = kill(Pid::from_raw(i32::try_from(running.init)?), Signal::SIGKILL);
        running.parent.wait_exit(DOWN)?;
        let cgroups = &running.cgroups;
        wait_until("the end of a node's last process", DOWN, || cgroups.processes().is_empty())
    }

    /// Switches it on, with the disk as it is, and waits for containerd. Until its kubelet reports, the control plane knows
    /// what it knew last: that the node is Ready, unless [`super::Cluster::node_lost`] was waited for.
    ///
    /// # Errors
    /// It is on; containerd does not listen in time.
    pub fn start(&mut self) -> Result<()> {
        ensure!(!self.is_on(), "{} is on", self.name);
        self.netns = self.bed.node(self.number)?;
        self.run().inspect_err(|_| drop(self.bed.detach(&self.netns)))
    }

    /// Starts its first process in the network that it has.
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

    /// Gives its kubelet and its proxy their ways to the API server.
    pub(super) fn admit(&self, kubelet: &Path, proxy: &Path) -> Result<()> {
        self.disk.admit(kubelet, proxy)
    }

    /// The command of its first process.
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

/// The first process of a node once there is one; none for ever when its parent has ended.
fn first_child(parent: &mut Process) -> Option<Option<u32>> {
    let (pid, running) = (parent.pid(), parent.is_running());
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    // Before it is `unshare` the parent is other programs; a shell's children come and go.
    let forked = command_line(pid).is_some_and(|line| line.starts_with("unshare --mount"));
    let child = children.split_whitespace().next().filter(|_| forked).and_then(|child| child.parse().ok());
    child.map(Some).or((!running).then_some(None))
}

/// The words of a process with a space between them.
fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    Some(words.join(" ").trim_end().to_owned())
}
