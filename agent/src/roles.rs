//! Further roles of the agent's binary: a proxy's keeper, the launcher of its program, and the downloads of Envoy and l7mp.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{geteuid, getppid, setsid};
use portreeve_keeper as keeper;
use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::envoy::locate::Surroundings;
use crate::forget::{self, ForgetArgs};
use crate::l7mp;

/// Keep one proxy running. Started by the agent.
#[derive(Debug, clap::Args)]
pub struct KeepArgs {
    /// Directory of the keeper, with its spec.json.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The agent's Unix socket.
    #[arg(long, value_name = "PATH")]
    pub agent_socket: PathBuf,
    /// End together with the parent process, when the pipe on standard input closes.
    #[arg(long)]
    pub with_parent: bool,
    /// Take over the running Envoy of this process's previous build. Standard input is its lock.
    #[arg(long, hide = true, conflicts_with = "with_parent")]
    pub adopt: bool,
}

/// Run the Envoy of a gateway's pod, as the pod's first process. The node's agent tells what to run.
#[derive(Debug, clap::Args)]
pub struct GatewayArgs {
    /// NodeProxy of the pod, as in its annotation.
    #[arg(long, env = "NODE_PROXY")]
    pub proxy: String,
    /// Directory for the pod's own files.
    #[arg(long, value_name = "DIR", default_value = "/run/keeper")]
    pub dir: PathBuf,
    /// The agent's Unix socket.
    #[arg(long, value_name = "PATH", default_value = "/run/portreeve/agent.sock")]
    pub agent_socket: PathBuf,
    /// Path of the pod's Envoy.
    #[arg(long, value_name = "FILE", default_value = "/usr/local/bin/envoy")]
    pub envoy: PathBuf,
    /// Path of the pod's l7mp-proxy.js, for NodeProxies with spec.l7mp.
    #[arg(long, value_name = "FILE")]
    pub l7mp: Option<PathBuf>,
    /// Path of the pod's node binary, which runs l7mp.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/node")]
    pub nodejs: PathBuf,
}

/// Exit with code 0 if a gateway's pod does its work.
#[derive(Debug, clap::Args)]
pub struct ReadyArgs {
    /// The keeper's directory.
    #[arg(long, value_name = "DIR", default_value = "/run/keeper")]
    pub dir: PathBuf,
}

/// Exit with code 0 if an agent is ready or alive.
#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// Path that the agent got as --probe-socket.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// Check only whether the agent is alive.
    #[arg(long)]
    pub live: bool,
}

/// Execute PROGRAM, and end with the parent process. Started by the keeper.
#[derive(Debug, clap::Args)]
pub struct LaunchArgs {
    /// Pid of the parent process. If the actual parent differs, it has already ended.
    #[arg(long, value_name = "PID")]
    pub parent: i32,
    /// Program to execute.
    #[arg(value_name = "PROGRAM")]
    pub program: PathBuf,
    /// Arguments of the program.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// The role `keep`: runs until the proxy should stop. Must be called on the main thread, outside any runtime.
///
/// # Errors
/// See [`keeper::run()`].
pub fn keep(args: KeepArgs) -> anyhow::Result<()> {
    // The keeper gets its own session, so that signals to the agent's terminal or process group don't reach the proxy.
    // That fails only for a group's leader, that is, if a person's shell started it.
    if let Err(error) = setsid() {
        tracing::debug!(%error, "can't create a session");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let parent = args.with_parent.then(parents_pipe).transpose()?;
        let inherited = args.adopt.then(|| std::io::stdin().as_fd().try_clone_to_owned()).transpose()?;
        let (dir, agent_socket) = (args.dir, args.agent_socket);
        keeper::run(keeper::Settings { dir, agent_socket, parent, inherited: inherited.map(Into::into) })
            .await
    })
}

/// The role `gateway`: runs until SIGTERM. Must be called on the main thread, outside any runtime.
///
/// # Errors
/// See [`keeper::run_in_pod()`].
pub fn gateway(args: GatewayArgs) -> anyhow::Result<()> {
    let GatewayArgs { proxy, dir, agent_socket, envoy, l7mp, nodejs } = args;
    let l7mp = l7mp.map(|script| keeper::l7mp::Programs { node: nodejs, script });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(keeper::run_in_pod(keeper::PodSettings { proxy, dir, agent_socket, envoy, l7mp }))
}

/// The role `probe`.
///
/// # Errors
/// Returns the agent's reason if it isn't ready or alive, or an error if it doesn't answer.
pub fn probe(args: ProbeArgs) -> anyhow::Result<()> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(keeper::envoy::admin::get(&args.socket, path, 4096));
    answer.with_context(|| args.socket.display().to_string())?;
    Ok(())
}

/// The role `fetch-envoy`: downloads the pinned Envoy into the user's cache, and prints its path.
///
/// # Errors
/// Returns an error if the download fails.
pub fn fetch_envoy() -> anyhow::Result<()> {
    let envoy = Surroundings::of_process().pinned(&mut |step| tracing::info!("{step}"))?;
    portreeve_runtime::out::print(envoy.display())
}

/// The role `fetch-l7mp`: installs the pinned l7mp into the user's cache, and prints the path of its script.
///
/// # Errors
/// Returns an error if npm is missing or fails.
pub fn fetch_l7mp() -> anyhow::Result<()> {
    let script = l7mp::locate::fetched(&mut |step| tracing::info!("{step}"))?;
    portreeve_runtime::out::print(script.display())
}

/// The role `forget`.
///
/// # Errors
/// See [`forget::forget`].
pub fn forget(args: &ForgetArgs) -> anyhow::Result<()> {
    forget::forget(&args.run_dir, &args.state_dir)?;
    if !args.stay {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        terminate.recv().await;
        Ok(())
    })
}

/// The role `launch`: makes the kernel kill this process when its parent's thread ends, and executes the program.
///
/// # Errors
/// Returns an error if the program can't be executed, or the parent has ended.
pub fn launch(args: LaunchArgs) -> anyhow::Result<Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("PR_SET_PDEATHSIG")?;
    anyhow::ensure!(getppid().as_raw() == args.parent, "the parent {} has ended", args.parent);
    keep_low_ports().context("CAP_NET_BIND_SERVICE")?;
    let error = Command::new(&args.program).args(&args.arguments).exec();
    anyhow::bail!("{}: {error}", args.program.display())
}

/// If this process may bind ports below 1024, passes that permission on to a program that doesn't run as root, which
/// needs an ambient capability. (Root's programs keep it without.)
fn keep_low_ports() -> rustix::io::Result<()> {
    let mut sets = capabilities(None)?;
    if geteuid().is_root() || !sets.permitted.contains(CapabilitySet::NET_BIND_SERVICE) {
        return Ok(());
    }
    sets.inheritable |= CapabilitySet::NET_BIND_SERVICE;
    set_capabilities(None, sets)?;
    configure_capability_in_ambient_set(CapabilitySet::NET_BIND_SERVICE, true)
}

fn parents_pipe() -> anyhow::Result<pipe::Receiver> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned()?;
    pipe::Receiver::from_owned_fd(fd).context("--with-parent needs a pipe on standard input")
}
