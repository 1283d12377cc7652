//! The role `addresses`: [`run`].

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use portreeve_runtime::logs::{self, Format};
use portreeve_runtime::{Shutdown, Tasks, client};
use tokio::time::MissedTickBehavior;

use crate::judge::RENEW;
use crate::keeper::Keeper;
use crate::leases::Leases;
use crate::links::Links;

/// Hold public addresses on this node's interfaces, each on one node at a time.
#[derive(Clone, Debug, clap::Args)]
pub struct AddressesArgs {
    /// Name of this node.
    #[arg(long, env = "NODE_NAME")]
    pub node: String,
    /// The file in which the agent writes the addresses that this node could serve.
    #[arg(long, value_name = "FILE", default_value = "/run/portreeve/addresses.json")]
    pub file: PathBuf,
    /// Namespace of the Leases.
    #[arg(long, env = "POD_NAMESPACE", default_value = "portreeve")]
    pub namespace: String,
    /// Path of a kubeconfig file. Default: $KUBECONFIG, the user's own file, or the pod's service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Log format: text or json.
    #[arg(long, default_value_t)]
    pub log_format: Format,
}

/// Runs until the process is asked to end. It then leaves its addresses to other nodes.
///
/// # Errors
/// Returns an error if the API server's address is unknown, or if the process may not use netlink.
pub async fn run(args: AddressesArgs) -> anyhow::Result<()> {
    logs::init("info", args.log_format)?;
    let shutdown = Shutdown::default();
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("signals", shutdown.clone().on_signal());
    let client = client(args.kubeconfig.as_deref()).await?;
    let leases = Arc::new(Leases::new(client, &args.namespace, &args.node));
    let (watching, renewing) = (leases.clone(), leases.clone());
    tasks.spawn("watch of Leases", async move { watching.watch().await });
    tasks.spawn("renewals", renew(renewing));
    let links = [Links::open().context("netlink")?, Links::open().context("netlink")?];
    let mut keeper = Keeper::new(leases, links, args.file);
    tracing::info!(node = args.node, "holding addresses");
    tasks.spawn_graceful("addresses", async move {
        let kept = keeper.keep(&shutdown).await;
        keeper.leave().await;
        kept
    });
    tasks.run().await
}

/// Renews the node's Lease, and never returns.
async fn renew(leases: Arc<Leases>) -> anyhow::Result<()> {
    let (mut interval, mut failing) = (tokio::time::interval(RENEW), false);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match leases.renew().await {
            Ok(()) => failing = false,
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::warn!(%error, "can't renew this node's Lease: no address is taken, what is held stays");
            }
            Err(_) => {}
        }
    }
}
