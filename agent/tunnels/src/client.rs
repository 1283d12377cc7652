//! The role `gue-client`, the customer's end of the tunnels on one node: [`run`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_gue::client::Client;
use portreeve_gue::customer::Way;
use portreeve_runtime::logs::{self, Format};
use portreeve_runtime::{Shutdown, Tasks, client};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, sleep};

use crate::end::Shared;
use crate::epic::{self, Announcer, Seen, Web, WebArgs};
use crate::kernel::Kernel;
use crate::metrics;
use crate::objects::{self, Known};
use crate::paths::Paths;
use crate::pings::pings;
use crate::role::{Bound, serve_metrics};

/// How long changes are collected before they are handled.
const GATHER: Duration = Duration::from_millis(20);

/// How often what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Carry packets between EPIC and this customer's node, and ping EPIC, so that it knows where the node is.
#[derive(Clone, Debug, clap::Args)]
pub struct GueClientArgs {
    /// Address of this node, as the endpoints have it in spec.node-address.
    #[arg(long, env = "NODE_ADDRESS")]
    pub node_address: Ipv4Addr,
    /// Namespace of the account in EPIC's API server, whose objects tell the tunnels. Without it, --epic-url is needed.
    #[arg(long, value_name = "epic-ACCOUNT", required_unless_present = "epic_url")]
    pub namespace: Option<String>,
    /// The web service.
    #[command(flatten)]
    pub web: WebArgs,
    /// Name of this node in the customer's own cluster, for --epic-url.
    #[arg(long, env = "NODE_NAME", required_unless_present = "namespace")]
    pub node: Option<String>,
    /// Path of a kubeconfig file for the API server. Default: $KUBECONFIG, the user's own file, or the pod's service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// UDP port of the tunnels on this node.
    #[arg(long, default_value_t = 6080)]
    pub port: u16,
    /// Name of the TUN device.
    #[arg(long, default_value = "gue0")]
    pub device: String,
    /// Address and port for metrics. Default: none are served.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin: Option<SocketAddr>,
    /// Log format: text or json.
    #[arg(long, default_value_t)]
    pub log_format: Format,
}

/// Runs until the process is asked to end. Rules and routes of tunnels that are wanted stay, so that no packet leaves by others
/// until the role runs again.
///
/// # Errors
/// Returns an error without the capability `NET_ADMIN` or `/dev/net/tun`, if the port or the device's name is taken, or if the
/// API server's address is unknown.
pub async fn run(args: GueClientArgs) -> anyhow::Result<()> {
    logs::init("info", args.log_format)?;
    let shutdown = Shutdown::default();
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("signals", shutdown.clone().on_signal());
    let api = client(args.kubeconfig.as_deref()).await?;
    let bound = Bound::open(&args.device, args.node_address, args.port)?;
    let end = Arc::new(Shared::new(Client::new()));
    if let Some(address) = args.admin {
        let told = end.clone();
        serve_metrics(&mut tasks, address, move || metrics::of_client(&told), &shutdown).await?;
    }
    let (pinged, new) = (end.clone(), Arc::new(Notify::new()));
    let told = new.clone();
    bound.carry(&mut tasks, &end, |socket| async move { pings(&socket, &pinged, &told).await });
    let known = Arc::new(Known::new(IpAddr::V4(args.node_address)));
    match (&args.namespace, &args.web.epic_url) {
        (Some(namespace), _) => objects::watch_all(&mut tasks, &api, namespace, &known),
        (None, Some(url)) => {
            let (web, seen) = (Web::new(url, &args.web)?, Arc::new(Seen::default()));
            epic::watch_all(&mut tasks, &api, args.node.as_deref().unwrap_or_default(), &seen);
            let announcer = Announcer::new(web, seen, known.clone(), IpAddr::V4(args.node_address));
            tasks.spawn("announcements", announcer.run());
        }
        (None, None) => anyhow::bail!("give --namespace or --epic-url"),
    }
    tracing::info!(node = %args.node_address, device = args.device, "carrying packets of tunnels");
    let keeper = Keeper {
        known,
        end,
        new,
        kernel: Kernel::open()?,
        device: args.device,
        ways: BTreeMap::new(),
        led: None,
    };
    tasks.spawn_graceful("tunnels", keeper.keep(shutdown));
    tasks.run().await
}

/// Keeps the tunnels as the objects say.
struct Keeper {
    known: Arc<Known>,
    end: Arc<Shared<Client>>,
    /// Notified when tunnels were added.
    new: Arc<Notify>,
    kernel: Kernel,
    device: String,
    ways: BTreeMap<u32, Way>,
    /// What the kernel was given last. `None`: earlier processes may have left something.
    led: Option<Paths>,
}

// === impl Keeper ===

impl Keeper {
    /// Follows the objects until the shutdown. Before all of them were listed, what an earlier process left stays, and so does after
    /// the shutdown what leads into tunnels that are wanted: no packet leaves by other routes until the role runs again.
    async fn keep(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (known, mut again) = (self.known.clone(), tokio::time::interval(AGAIN));
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = known.changed() => sleep(GATHER).await,
                _ = again.tick() => {}
                () = shutdown.wait() => break,
            }
            match self.follow().await {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the tunnels are not as they should be, trying again"
                    );
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        let Some(ways) = self.known.tunnels() else { return Ok(()) };
        if ways != self.ways {
            let now = Instant::now();
            self.end.with(|end| {
                self.ways.keys().filter(|id| !ways.contains_key(id)).for_each(|id| end.remove(*id));
                let changed = ways.iter().filter(|(id, way)| self.ways.get(id) != Some(way));
                changed.for_each(|(id, (tunnel, _))| end.put(*id, tunnel.clone(), now));
            });
            self.new.notify_one();
            self.ways = ways;
        }
        let mut paths = Paths::default();
        self.ways.values().for_each(|(tunnel, public)| paths.add_tunnel(tunnel, *public));
        if self.led.as_ref() != Some(&paths) {
            self.kernel.set(&self.device, &paths).await?;
            self.led = Some(paths);
        }
        Ok(())
    }
}
