//! The agent's socket as a volume: the driver `csi.portreeve.dev`, for pods that may have no directory of the host. It shows
//! each pod the agent's directory, read-only, at the place that the kubelet names. Entry point: [`run`].
//!
//! [`request`] says what a kubelet may ask for, and is pure; [`mounts`] does it; [`service`] speaks the Container Storage
//! Interface and [`registration`] makes the driver known to the kubelet. Nothing is remembered: what is mounted the kernel
//! knows, so a driver may end at any time. (rustix gives up capabilities, which nix cannot.)
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use nix::sys::prctl;
use portreeve_runtime::logs::{self, Format};
use portreeve_runtime::{Shutdown, Tasks, socket};
use portreeve_xds::serve_unix;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use tonic::transport::Endpoint;

pub mod mounts;
pub mod proto;
pub mod registration;
pub mod request;
pub mod service;

pub use registration::NAME;

use mounts::View;
use proto::volume::ProbeRequest;
use proto::volume::identity_client::IdentityClient;
use registration::Registrar;
use service::Driver;

/// The flag that decides how long the paths of the sockets are.
const DIR_FLAG: &str = "--kubelet-dir";

/// Show the agent's socket to pods as a volume, the driver csi.portreeve.dev; as root, with CAP_SYS_ADMIN.
#[derive(Clone, Debug, clap::Args)]
pub struct CsiArgs {
    /// This node's name.
    #[arg(long, env = "NODE_NAME")]
    pub node: String,
    /// The directory of the agent's socket.
    #[arg(long, value_name = "DIR", default_value = "/run/portreeve")]
    pub run_dir: PathBuf,
    /// The kubelet's directory. In a container, `pods` in it has to be there under the same path, with mounts that reach the
    /// host; and `plugins/csi.portreeve.dev` and `plugins_registry`.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_dir: PathBuf,
    /// Log filter.
    #[arg(long, default_value = "info")]
    pub log_level: String,
    /// text or json.
    #[arg(long, default_value_t)]
    pub log_format: Format,
}

/// Say by the exit code whether the driver on this node answers.
#[derive(Clone, Debug, clap::Args)]
pub struct CsiProbeArgs {
    /// The kubelet's directory.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_dir: PathBuf,
    /// And whether the kubelet uses it.
    #[arg(long)]
    pub registered: bool,
}

/// The driver's own directory.
fn home(kubelet: &Path) -> PathBuf {
    kubelet.join("plugins").join(NAME)
}

/// Where the driver answers.
pub fn endpoint(kubelet: &Path) -> PathBuf {
    home(kubelet).join("csi.sock")
}

/// Gives up every right but that to mount, and any to get more. Call it before the process has threads: rights are a thread's.
///
/// # Errors
/// This process may not mount.
pub fn confine() -> anyhow::Result<()> {
    anyhow::ensure!(
        capabilities(None)?.permitted.contains(CapabilitySet::SYS_ADMIN),
        "the driver has to mount, and has no CAP_SYS_ADMIN: run it as root in a container with `privileged: true`"
    );
    let kept = CapabilitySet::SYS_ADMIN;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("giving up rights")?;
    Ok(prctl::set_no_new_privs()?)
}

/// Runs the driver until it is asked to end. What it mounted stays.
///
/// # Errors
/// The directory can't be mounted, a socket can't be bound, or the first task that failed, by name.
pub async fn run(args: CsiArgs) -> anyhow::Result<()> {
    logs::init(&args.log_level, args.log_format)?;
    let view = View::open(&args.run_dir, &home(&args.kubelet_dir).join("shown"))?;
    let endpoint = endpoint(&args.kubelet_dir);
    let listener = socket::bind_with(&endpoint, DIR_FLAG, 0o600)?;
    let registrar = Registrar::new(&endpoint);
    let driver = Driver::new(args.node, args.kubelet_dir.clone(), Arc::new(view), registrar.registered());
    let shutdown = Shutdown::default();
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("signals", shutdown.clone().on_signal());
    let until = shutdown.waiter();
    let served = driver.routes();
    tasks.spawn_graceful("volumes", async move { Ok(serve_unix(listener, served, until).await?) });
    // After the socket that it tells of.
    let registry = registration::socket(&args.kubelet_dir);
    let listener = socket::bind_with(&registry, DIR_FLAG, 0o600)?;
    let until = shutdown.waiter();
    tasks.spawn_graceful("registration", registrar.serve(listener, registry, until));
    tracing::info!(endpoint = %endpoint.display(), shown = %args.run_dir.display(), "serving volumes");
    tasks.run().await
}

/// Asks the driver whether it is there, and whether the kubelet uses it.
///
/// # Errors
/// It does not answer; or it is to be registered and is not.
pub async fn probe(args: CsiProbeArgs) -> anyhow::Result<()> {
    let path = endpoint(&args.kubelet_dir);
    let path = path.to_str().context("the path of the driver's socket is not UTF-8")?;
    let channel = Endpoint::from_shared(format!("unix://{path}"))?.connect().await;
    let mut driver = IdentityClient::new(channel.with_context(|| format!("no driver answers at {path}"))?);
    let ready = driver.probe(ProbeRequest {}).await?.into_inner().ready;
    let registered = ready.unwrap_or_default();
    anyhow::ensure!(registered || !args.registered, "the kubelet has not registered the driver");
    Ok(())
}
