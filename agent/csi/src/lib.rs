//! Provides the agent's socket as a volume: the CSI driver `csi.portreeve.dev`, for pods that may not use hostPath. It
//! mounts the agent's directory read-only at the path that the kubelet requests. Entry point: [`run`].
//!
//! [`request`] validates a kubelet's requests and is pure. [`mounts`] mounts and unmounts. [`service`] implements the
//! Container Storage Interface, and [`registration`] registers the driver with the kubelet. The driver keeps no state:
//! the kernel knows the mounts, so a driver may end at any time. (rustix drops capabilities, which nix can't.)
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

/// The flag that determines the length of the sockets' paths.
const DIR_FLAG: &str = "--kubelet-dir";

/// Run the CSI driver csi.portreeve.dev, which provides the agent's socket to pods as a volume. Must run as root with
/// CAP_SYS_ADMIN.
#[derive(Clone, Debug, clap::Args)]
pub struct CsiArgs {
    /// Name of this node.
    #[arg(long, env = "NODE_NAME")]
    pub node: String,
    /// Directory of the agent's socket.
    #[arg(long, value_name = "DIR", default_value = "/run/portreeve")]
    pub run_dir: PathBuf,
    /// Directory of the kubelet. In a container, these paths must be mounted from the host: `pods` in it, with the same
    /// path and mount propagation to the host, and `plugins/csi.portreeve.dev` and `plugins_registry`.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_dir: PathBuf,
    /// Log filter, for example info or portreeve_csi=debug.
    #[arg(long, default_value = "info")]
    pub log_level: String,
    /// Log format: text or json.
    #[arg(long, default_value_t)]
    pub log_format: Format,
}

/// Exit with code 0 if the driver on this node answers.
#[derive(Clone, Debug, clap::Args)]
pub struct CsiProbeArgs {
    /// Directory of the kubelet.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_dir: PathBuf,
    /// Also require that the kubelet has registered the driver.
    #[arg(long)]
    pub registered: bool,
}

/// Returns the driver's own directory.
fn home(kubelet: &Path) -> PathBuf {
    kubelet.join("plugins").join(NAME)
}

/// Returns the path of the driver's socket.
pub fn endpoint(kubelet: &Path) -> PathBuf {
    home(kubelet).join("csi.sock")
}

/// Drops every capability except the one for mounting, and prevents gaining new ones. Must be called before the process
/// has other threads, because capabilities belong to threads.
///
/// # Errors
/// Returns an error if this process may not mount.
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

/// Runs the driver until it is asked to end. Its mounts stay.
///
/// # Errors
/// Returns an error if the directory can't be mounted or a socket can't be bound, or the error of the first task that
/// fails, with the task's name.
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
    // Registered last, because the registration refers to the driver's socket.
    let registry = registration::socket(&args.kubelet_dir);
    let listener = socket::bind_with(&registry, DIR_FLAG, 0o600)?;
    let until = shutdown.waiter();
    tasks.spawn_graceful("registration", registrar.serve(listener, registry, until));
    tracing::info!(endpoint = %endpoint.display(), shown = %args.run_dir.display(), "serving volumes");
    tasks.run().await
}

/// Checks whether the driver answers, and optionally whether the kubelet has registered it.
///
/// # Errors
/// Returns an error if the driver doesn't answer, or if it must be registered and isn't.
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
