//! The roles that both binaries take on beside their own: a proxy's keeper, the launcher of its Envoy, and who fetches that.

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

/// Keep one proxy running; started by the agent.
#[derive(Debug, clap::Args)]
pub struct KeepArgs {
    /// The keeper's directory, holding spec.json.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The agent's Unix socket.
    #[arg(long, value_name = "PATH")]
    pub agent_socket: PathBuf,
    /// End with the parent: when standard input, a pipe from it, closes.
    #[arg(long)]
    pub with_parent: bool,
    /// Go on with the Envoy of the build of this program that this process was; standard input is its lock.
    #[arg(long, hide = true, conflicts_with = "with_parent")]
    pub adopt: bool,
}

/// Keep the Envoy of a gateway's pod, as its first process; what to run the agent of the node says.
#[derive(Debug, clap::Args)]
pub struct GatewayArgs {
    /// The NodeProxy that the pod embodies, as its annotation says.
    #[arg(long, env = "NODE_PROXY")]
    pub proxy: String,
    /// A directory of the pod's own.
    #[arg(long, value_name = "DIR", default_value = "/run/keeper")]
    pub dir: PathBuf,
    /// The agent's Unix socket.
    #[arg(long, value_name = "PATH", default_value = "/run/portreeve/agent.sock")]
    pub agent_socket: PathBuf,
    /// The pod's Envoy.
    #[arg(long, value_name = "FILE", default_value = "/usr/local/bin/envoy")]
    pub envoy: PathBuf,
}

/// Say by the exit code whether a gateway's pod does what it is to do.
#[derive(Debug, clap::Args)]
pub struct ReadyArgs {
    /// The keeper's directory.
    #[arg(long, value_name = "DIR", default_value = "/run/keeper")]
    pub dir: PathBuf,
}

/// Say by the exit code whether an agent is ready, or alive.
#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// Its --probe-socket.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// Ask only whether it is alive.
    #[arg(long)]
    pub live: bool,
}

/// Become PROGRAM, and die with the parent; started by the keeper.
#[derive(Debug, clap::Args)]
pub struct LaunchArgs {
    /// The parent's pid; another parent means that it is dead already.
    #[arg(long, value_name = "PID")]
    pub parent: i32,
    /// What to become.
    #[arg(value_name = "PROGRAM")]
    pub program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// The role `keep`: runs until the proxy is to stop. Call it on the main thread, outside any runtime.
///
/// # Errors
/// As of [`keeper::run()`].
pub fn keep(args: KeepArgs) -> anyhow::Result<()> {
    // A session of its own: signals for the agent's terminal or process group are not for the proxy. Fails for a group's
    // leader only, that is when a person's shell started it.
    if let Err(error) = setsid() {
        tracing::debug!(%error, "no session of its own");
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

/// The role `gateway`: runs until SIGTERM. Call it on the main thread, outside any runtime.
///
/// # Errors
/// As of [`keeper::run_in_pod()`].
pub fn gateway(args: GatewayArgs) -> anyhow::Result<()> {
    let GatewayArgs { proxy, dir, agent_socket, envoy } = args;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(keeper::run_in_pod(keeper::PodSettings { proxy, dir, agent_socket, envoy }))
}

/// The role `probe`.
///
/// # Errors
/// It is not, in its own words; or it does not answer.
pub async fn probe(args: ProbeArgs) -> anyhow::Result<()> {
    let path = if args.live { "/livez" } else { "/readyz" };
    keeper::envoy::admin::get(&args.socket, path, 4096)
        .await
        .with_context(|| args.socket.display().to_string())?;
    Ok(())
}

/// The role `fetch-envoy`: has the pinned Envoy in the user's cache, and prints where.
///
/// # Errors
/// It can't be fetched.
pub fn fetch_envoy() -> anyhow::Result<()> {
    let envoy = Surroundings::of_process().pinned(&mut |step| tracing::info!("{step}"))?;
    portreeve_runtime::out::print(envoy.display())
}

/// The role `forget`.
///
/// # Errors
/// As of [`forget::forget`].
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

/// The role `launch`: has the kernel kill this process when its parent's thread ends, and becomes the program.
///
/// # Errors
/// The program cannot be executed, or the parent is dead.
pub fn launch(args: LaunchArgs) -> anyhow::Result<Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("PR_SET_PDEATHSIG")?;
    anyhow::ensure!(getppid().as_raw() == args.parent, "the parent {} is dead", args.parent);
    keep_low_ports().context("CAP_NET_BIND_SERVICE")?;
    let error = Command::new(&args.program).args(&args.arguments).exec();
    anyhow::bail!("{}: {error}", args.program.display())
}

/// Has the permission for ports under 1024, where this process has it, survive the exec of a program that is not root's:
/// only ambient capabilities do. (Root's programs have it without.)
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
