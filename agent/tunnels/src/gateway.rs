//! The role `gue`, EPIC's end of the tunnels: [`run`].

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use portreeve_gue::client::PERIOD;
use portreeve_gue::gateway::{self, Gateway};
use portreeve_runtime::logs::{self, Format};
use portreeve_runtime::{Shutdown, Tasks, now_ms};
use tokio::time::MissedTickBehavior;

use crate::end::Shared;
use crate::files::{self, Followed, STATE, State, WANTED, Wanted};
use crate::kernel::Kernel;
use crate::metrics;
use crate::paths::Paths;
use crate::role::{Bound, serve_metrics};

/// How often the agent's file is looked at, and the state is written if it changed.
const LOOK: Duration = Duration::from_millis(100);

/// How often the state is written without news of a tunnel's end, so that silent tunnels are told.
const WRITE: Duration = Duration::from_secs(5);

/// Pings come to this node if the last one is younger. Two may be lost.
const HEARD: Duration = PERIOD.saturating_mul(3);

/// Carry packets between this node's proxies and customers' nodes, as EPIC's end of GUE tunnels.
#[derive(Clone, Debug, clap::Args)]
pub struct GueArgs {
    /// Directory in which the agent writes the tunnels of this node's gateways.
    #[arg(long, value_name = "DIR", default_value = "/run/portreeve-tunnels")]
    pub dir: PathBuf,
    /// UDP port of the tunnels.
    #[arg(long, default_value_t = 6080)]
    pub port: u16,
    /// Name of the TUN device.
    #[arg(long, default_value = "gue0")]
    pub device: String,
    /// Drop packets that come from elsewhere than the tunnel's last ping.
    #[arg(long)]
    pub strict: bool,
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
/// Returns an error without the capability `NET_ADMIN` or `/dev/net/tun`, or if the port or the device's name is taken.
pub async fn run(args: GueArgs) -> anyhow::Result<()> {
    logs::init("info", args.log_format)?;
    let shutdown = Shutdown::default();
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("signals", shutdown.clone().on_signal());
    let bound = Bound::open(&args.device, Ipv4Addr::UNSPECIFIED, args.port)?;
    let end = Arc::new(Shared::new(Gateway::new(args.strict)));
    if let Some(address) = args.admin {
        let told = end.clone();
        serve_metrics(&mut tasks, address, move || metrics::of_gateway(&told), &shutdown).await?;
    }
    bound.carry(&mut tasks, &end, |_| std::future::pending());
    let keeper = Keeper::new(&args, end)?;
    tracing::info!(port = args.port, device = args.device, "carrying packets of tunnels");
    tasks.spawn_graceful("tunnels", keeper.keep(shutdown));
    tasks.run().await
}

/// Keeps the tunnels as the agent wants them.
struct Keeper {
    directory: PathBuf,
    device: String,
    port: u16,
    end: Arc<Shared<Gateway>>,
    kernel: Kernel,
    file: Followed,
    wanted: Wanted,
    paths: Paths,
    /// What the kernel was given last. `None`: earlier processes may have left something.
    led: Option<Paths>,
    /// The problem that was logged last.
    problem: Option<String>,
}

// === impl Keeper ===

impl Keeper {
    fn new(args: &GueArgs, end: Arc<Shared<Gateway>>) -> anyhow::Result<Self> {
        Ok(Self {
            directory: args.dir.clone(),
            device: args.device.clone(),
            port: args.port,
            end,
            kernel: Kernel::open()?,
            file: Followed::new(&args.dir, WANTED),
            wanted: Wanted::new(),
            paths: Paths::default(),
            led: None,
            problem: None,
        })
    }

    /// Follows the agent's file until the shutdown. What leads into tunnels that are wanted stays, so that no packet leaves by other
    /// routes until the role runs again. The kernel removes the device with its routes.
    async fn keep(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (mut look, mut due) = (tokio::time::interval(LOOK), Instant::now());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = shutdown.wait() => break,
            }
            let outcome = self.read().map_err(anyhow::Error::from);
            let outcome = outcome.and(self.lead().await);
            let now = Instant::now();
            let outcome = match self.end.with(Gateway::take_news) || now >= due {
                true => {
                    due = now + WRITE;
                    outcome.and(self.write().context("writing the state"))
                }
                false => outcome,
            };
            self.tell(outcome.err().map(|error| format!("{error:#}")));
        }
        // Others count on the pings of this node no more.
        let _ = std::fs::remove_file(self.directory.join(STATE));
        Ok(())
    }

    /// Logs a problem when it is another one.
    fn tell(&mut self, problem: Option<String>) {
        if problem != self.problem {
            if let Some(error) = &problem {
                tracing::warn!(error, "the tunnels are not as they should be, trying again");
            }
            self.problem = problem;
        }
    }

    /// Takes over the agent's file if it changed. What can't be taken over has no tunnels, and nothing else is disturbed.
    fn read(&mut self) -> std::io::Result<()> {
        let Some(wanted) = self.file.read::<Wanted>()? else { return Ok(()) };
        let gone = self.wanted.keys().filter(|name| !wanted.contains_key(*name));
        self.end.with(|end| gone.for_each(|name| end.remove(name)));
        let changed = wanted.iter().filter(|(name, of)| self.wanted.get(*name) != Some(of));
        // One may need a key or an address that another one gives up.
        let again: Vec<_> = changed.filter(|(name, of)| self.put(name, of).is_err()).collect();
        for (name, of) in again {
            if let Err(error) = self.put(name, of) {
                tracing::warn!(load_balancer = name, error, "a load balancer has no tunnels here");
                self.end.with(|end| end.remove(name));
            }
        }
        self.paths = self.end.with(|end| {
            let mut paths = Paths::default();
            for (name, of) in &wanted {
                end.get(name).into_iter().for_each(|known| paths.add_load_balancer(known, &of.ports()));
            }
            paths
        });
        self.wanted = wanted;
        Ok(())
    }

    fn put(&self, name: &str, of: &files::LoadBalancer) -> Result<(), String> {
        let load_balancer = of.of_gateway().ok_or("its key can't be read")?;
        let strange = of.tunnels.values().find(|tunnel| tunnel.epic.port() != self.port);
        if let Some(strange) = strange {
            tracing::warn!(load_balancer = name, epic = %strange.epic, port = self.port, "a tunnel has another port");
        }
        self.end.with(|end| {
            end.put(&name.into(), load_balancer).map_err(|conflict| conflict.to_string())?;
            for (id, tunnel) in &of.tunnels {
                tunnel.peer.into_iter().for_each(|peer| end.learn(*id, peer.into()));
            }
            Ok(())
        })
    }

    /// Makes the kernel lead packets into the device.
    async fn lead(&mut self) -> anyhow::Result<()> {
        if self.led.as_ref() != Some(&self.paths) {
            self.kernel.set(&self.device, &self.paths).await?;
            self.led = Some(self.paths.clone());
        }
        Ok(())
    }

    /// Writes what is known of the tunnels, also if it is the same: the agent takes a silent role for one that has ended.
    fn write(&self) -> std::io::Result<()> {
        let now = now_ms();
        let heard = |at: i64| now.saturating_sub(at) < i64::try_from(HEARD.as_millis()).unwrap_or(i64::MAX);
        let state: State = self.end.with(|end| {
            let of = |(id, known): (&u32, &gateway::Known)| {
                (*id, files::Known { peer: known.peer.into(), heard: known.heard_ms.is_some_and(heard) })
            };
            end.peers().iter().map(of).collect()
        });
        match files::write(&self.directory, STATE, &state) {
            // The agent has no tunnels yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && state.is_empty() => Ok(()),
            written => written,
        }
    }
}
