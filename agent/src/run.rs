//! The agent's process: its flags, its tasks and their start order.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use kube::runtime::watcher;
use kube::{Api, Client};
use portreeve_agent_core::translate::Defaults;
use portreeve_agent_core::world::{Account, World};
use portreeve_api::pod::{Interest, Pod};
use portreeve_api::pod_document::PodDocument;
use portreeve_envoy::registry;
use portreeve_keeper::envoy::statistics::Prefix;
use portreeve_runtime::logs::{self, Format};
use portreeve_runtime::{
    Guard, Heart, Liveness, Readiness, Shutdown, Tasks, Traces, admin, client, now_ms, otlp, socket, watch,
};
use portreeve_xds::{Gate, Limits, serve_unix_gated};
use tokio::net::TcpListener;

use crate::directory::Hold;
use crate::handles::Agent;
use crate::identity::{Door, Identity};
use crate::link::{self, Link};
use crate::local::{FeedSink, Local, PodVerbs};
use crate::ports::Watch;
use crate::programs::Programs;
use crate::replicas::{Places, Replicas, run_feed};
use crate::reports::Reports;
use crate::staleness::{self, Staleness};
use crate::store::{self, Saver};
use crate::supervisor::{Embodiment, Supervisor};
use crate::traces::Tracer;
use crate::tunnels;
use crate::turn::{Before, Passed, Turn};
use crate::{
    addresses, ads, families, l7mp, metrics, names, node_proxies, prober, programs, report_writer, reports,
};

/// Default of --max-stale, in seconds.
pub const MAX_STALE: u32 = 3600;

/// Pause before the next attempt to bind an address that an unresponsive agent may hold.
const AGAIN: Duration = Duration::from_secs(1);

/// Timeout of the final writes to the disk.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The agent: runs and configures the proxies of its own node.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Name of this node.
    #[arg(long, env = "NODE_NAME")]
    pub node: String,
    /// Addresses of the hub's replicas, as https://host:port, or as http://host:port for hubs with --insecure. A name
    /// may have several addresses, like a headless Service's. Several are separated by commas, or the flag is repeated.
    #[arg(long, required = true, value_delimiter = ',')]
    pub hub: Vec<http::Uri>,
    /// Path of the hub's CA certificate in PEM. Read again for each connection.
    #[arg(long, value_name = "FILE", default_value = "/var/run/portreeve/hub-ca/ca.crt")]
    pub hub_ca: PathBuf,
    /// Path of this agent's ServiceAccount token, which is bound to its pod and has the audience portreeve-hub. Read
    /// again for each connection.
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/portreeve/token")]
    pub hub_token: PathBuf,
    /// Directory of the agent's socket and keepers.
    #[arg(long, default_value = "/run/portreeve")]
    pub run_dir: PathBuf,
    /// Directory of the last known good state, which must outlive the agent. Default: `state` in the run directory.
    #[arg(long)]
    pub state_dir: Option<PathBuf>,
    /// Path of a kubeconfig file. Default: $KUBECONFIG, the user's own file, or the pod's service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The programs of NodeProxies.
    #[command(flatten)]
    pub programs: programs::Flags,
    /// ServiceAccount, as NAMESPACE/NAME, of the pods that run the NodeProxies. Each pod names its NodeProxy in the
    /// annotation portreeve.dev/node-proxy. Default: the agent starts the proxies itself.
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with_all = ["envoy", "l7mp"])]
    pub gateways: Option<Account>,
    /// How long a proxy's listeners drain before it ends, in seconds.
    #[arg(long, default_value_t = 5)]
    pub drain: u32,
    /// DNS domain of the cluster.
    #[arg(long, default_value = names::DEFAULT_DOMAIN)]
    pub cluster_domain: String,
    /// The only DNS server for endpoints' names, as address:port. Default: those of /etc/resolv.conf.
    #[arg(long, value_name = "IP:PORT")]
    pub dns_server: Option<SocketAddr>,
    /// Address and port of /livez, /readyz and /metrics. Default: none is opened.
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// Path of a Unix socket with /livez and /readyz of this process, for `portreeve-agent probe`. It works while this
    /// agent waits and another agent of the node has the --admin address.
    #[arg(long, value_name = "PATH")]
    pub probe_socket: Option<PathBuf>,
    /// Prefixes of Envoy's statistics, separated by commas, for example cluster. or udp. (names as in Envoy's
    /// documentation). Statistics of the NodeProxies' Envoys with these prefixes are added to /metrics with the label
    /// proxy: at most 5,000 samples. A proxy that doesn't answer within a second is left out.
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', requires = "admin")]
    pub envoy_metrics: Vec<Prefix>,
    /// How long the hub's last data may be used, in seconds. After that, pods of other nodes without a health check
    /// keep their sessions and get no new ones.
    #[arg(long, value_name = "SECONDS", default_value_t = MAX_STALE)]
    pub max_stale: u32,
    /// How proxies are identified: by the kernel, or by their own claim (only if every process may be any proxy).
    #[arg(long, value_enum, default_value_t)]
    pub identity: Identity,
    /// OTLP/gRPC address of an OpenTelemetry collector for traces of changes, as http://host:port. Default: no tracing.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<otlp::Endpoint>,
    /// Log filter, for example info or portreeve_agent=debug.
    #[arg(long, default_value = "info")]
    pub log_level: String,
    /// Log format: text or json.
    #[arg(long, default_value_t)]
    pub log_format: Format,
}

/// Limits of the xDS server. The number of streams exceeds what a node full of pods can have, because `Door` limits the
/// streams of each proxy.
const LIMITS: Limits = Limits { max_streams: 32_768, ..Limits::DEFAULT };

/// The settings of an agent, whatever the source of its pods.
pub struct Setup {
    /// This node's name.
    pub node: String,
    /// Where the hub's replicas are.
    pub hub: Places,
    /// How this agent authenticates to the hub.
    pub link: Link,
    /// Directory of the socket and the keepers.
    pub run_dir: PathBuf,
    /// Directory of the last known good state; `None` if it isn't saved.
    pub state_dir: Option<PathBuf>,
    /// The ServiceAccount of the pods that run the NodeProxies, if pods do.
    pub gateways: Option<Account>,
    /// The programs that NodeProxies can run.
    pub programs: Programs,
    /// How long listeners drain before a proxy ends.
    pub drain: Duration,
    /// Command of a binary with the roles `keep` and `launch`.
    pub keeper_command: Vec<OsString>,
    /// Whether keepers end with this process.
    pub with_parent: bool,
    /// How proxies are identified.
    pub identity: Identity,
    /// How endpoints' names are resolved.
    pub names: names::Settings,
    /// How long the hub's last data may be used.
    pub max_stale: Duration,
    /// Values for fields that a resource leaves unset.
    pub defaults: Defaults,
}

/// What the whole process has, whichever turn it is.
#[derive(Clone, Default)]
struct Process {
    shutdown: Shutdown,
    readiness: Readiness,
    liveness: Liveness,
}

/// Runs an agent on a cluster until it is asked to end. Its proxies keep running. When a newer agent of the node takes
/// over, the work ends, but the process waits until it or the newer agent ends.
///
/// # Errors
/// Returns the error of the first task that fails, with the task's name.
pub async fn run(args: RunArgs, defaults: Defaults) -> anyhow::Result<()> {
    logs::init(&args.log_level, args.log_format)?;
    let process = Process::default();
    let mut tasks = Tasks::new(process.shutdown.clone());
    tasks.spawn("signals", process.shutdown.clone().on_signal());
    if let Some(path) = &args.probe_socket {
        let listener = socket::bind_with(path, "--probe-socket", 0o600)?;
        let Process { shutdown, readiness, liveness } = process.clone();
        tasks.spawn("probes", admin::serve_probes(listener, readiness, liveness, shutdown));
    }
    tasks.spawn_graceful("agent", take_turns(args, defaults, process));
    tasks.run().await
}

/// Runs as the node's agent whenever it is this process's turn.
async fn take_turns(args: RunArgs, defaults: Defaults, process: Process) -> anyhow::Result<()> {
    let mut before = Before { turn: None, unready: process.readiness.guard("its turn") };
    while let Some(mut passed) = take_turn(&args, defaults, &process, before).await? {
        tokio::select! {
            () = passed.work_ended() => {}
            () = process.shutdown.wait() => break,
        }
        before = Before { turn: Some(passed.turn), unready: passed.unready };
    }
    Ok(())
}

/// Runs as the node's agent until it is asked to end, or a newer agent takes over.
async fn take_turn(
    args: &RunArgs,
    defaults: Defaults,
    process: &Process,
    before: Before,
) -> anyhow::Result<Option<Passed>> {
    let (args, run_dir, readiness) = (args.clone(), args.run_dir.clone(), &process.readiness);
    let client = client(args.kubeconfig.as_deref()).await?;
    let programs = match &args.gateways {
        Some(_) => Programs::in_pods(),
        None => Programs::locate(args.programs).await?,
    };
    let files = link::Files { authority: args.hub_ca, token: args.hub_token };
    let link = Link::of(&args.hub, files)?;
    let state_dir = args.state_dir.unwrap_or_else(|| args.run_dir.join("state"));
    // Taken last: an agent that can't start must not end the previous one.
    let turn = Turn::take(&state_dir, before.turn).await;
    let contested = turn.is_contested();
    let _held = Hold::take_all(&args.run_dir, &state_dir, contested).await?;
    let shutdown = process.shutdown.child();
    let mut tasks = Tasks::new(shutdown.clone());
    let setup = Setup {
        node: args.node.clone(),
        hub: Places::Uris(args.hub),
        link,
        state_dir: Some(state_dir),
        run_dir: args.run_dir,
        programs,
        gateways: args.gateways,
        drain: Duration::from_secs(args.drain.into()),
        keeper_command: vec![std::env::current_exe()?.into()],
        with_parent: false,
        identity: args.identity,
        max_stale: Duration::from_secs(args.max_stale.into()),
        names: names::Settings {
            domain: args.cluster_domain,
            server: args.dns_server,
            given: names::Given::default(),
        },
        defaults,
    };
    let agent = spawn(&mut tasks, setup, &shutdown)?;
    let traces = Traces::spawn(&mut tasks, "agent", args.node.clone(), args.otlp_endpoint, &shutdown);
    if traces.is_on() {
        agent.local.trace(Tracer::new(traces, args.node));
    }
    spawn_cluster(&mut tasks, client, (&agent, run_dir), process);
    drop(before.unready);
    if let Some(address) = args.admin {
        let (ready, live, until) = (readiness.clone(), process.liveness.clone(), shutdown.clone());
        let metrics = metrics::told(agent, args.envoy_metrics);
        tasks.spawn("admin", async move {
            let listener = listener(address, contested).await?;
            admin::serve(listener, ready, live, metrics, until).await
        });
    }
    let passed = turn.work_until_asked(&mut tasks, shutdown, readiness.clone());
    tasks.run().await?;
    Ok(passed.await.ok())
}

/// Starts the tasks that use the API server, and the probes for readiness and liveness.
fn spawn_cluster(tasks: &mut Tasks, client: Client, (agent, run_dir): (&Agent, PathBuf), process: &Process) {
    let (local, readiness) = (&agent.local, &process.readiness);
    tasks.spawn("addresses", addresses::run(local.clone(), run_dir.clone()));
    tasks.spawn("tunnels", tunnels::run(local.clone(), run_dir));
    let (heart, state) = (Heart::default(), local.clone());
    process.liveness.watch("the agent's state", &heart);
    tasks.spawn("heart", heart.keep(move || state.read(|_| ())));
    let report = report_writer::run(client.clone(), local.clone(), agent.supervisor.clone());
    tasks.spawn("node report", report);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", local.node()));
    let (pods, guard) = (Api::<PodDocument>::all(client), readiness.guard("this node's pods"));
    let verbs = PodVerbs(local.clone());
    let interest = Interest::of_agents();
    let strip = move |pod| Pod::from_kube_with(pod, &interest);
    tasks.spawn("watch of this node's pods", watch::run(pods, config, guard, strip, verbs));
    tasks.spawn("completeness", told_all(local.clone(), readiness.guard("the hub")));
}

/// Binds the --admin address. An unresponsive previous agent may hold it until that agent ends.
async fn listener(address: SocketAddr, contested: bool) -> anyhow::Result<TcpListener> {
    loop {
        match TcpListener::bind(address).await {
            Err(_) if contested => tokio::time::sleep(AGAIN).await,
            bound => {
                let bound = bound.with_context(|| format!("--admin {address}"))?;
                tracing::info!(address = %bound.local_addr()?, "serving metrics");
                return Ok(bound);
            }
        }
    }
}

/// Drops the guard once the hub, or the last known good state, has provided everything for this node.
async fn told_all(local: Arc<Local>, guard: Guard) -> anyhow::Result<()> {
    let mut changes = local.changes();
    while !local.read(World::complete) && changes.changed().await.is_ok() {}
    drop(guard);
    std::future::pending().await
}

/// Starts all tasks of an agent except the source of its pods.
///
/// # Errors
/// Returns an error if the socket or the keepers' directory can't be opened.
pub fn spawn(tasks: &mut Tasks, setup: Setup, shutdown: &Shutdown) -> anyhow::Result<Agent> {
    let families = families::of_host();
    // Restored before the socket opens, so that connecting proxies get the last known good state.
    let (saver, kept) = setup.state_dir.as_deref().map(store::open).transpose()?.unwrap_or_default();
    tasks.spawn_graceful("store", keep_last_words(saver.clone(), shutdown.waiter()));
    let epoch = reports::next_epoch(kept.epoch, now_ms().unsigned_abs());
    let age = staleness::age(kept.heard_ms, now_ms().unsigned_abs());
    let staleness = Staleness::new(setup.max_stale, age, Instant::now());
    let path = setup.run_dir.join("agent.sock");
    let listener = socket::bind(&path, "--run-dir")?;
    let supervisor =
        Supervisor::new(setup.run_dir.clone(), setup.keeper_command, path.clone(), setup.with_parent)
            .with_context(|| setup.run_dir.display().to_string())?;
    let door = Door::new(setup.identity, &setup.node, supervisor.clone());
    let in_pods = setup.gateways.is_some();
    let world =
        World::new(registry::fleets(), families).with_defaults(setup.defaults).with_gateways(setup.gateways);
    let local = Local::restored(setup.node.clone(), world, door, (saver.clone(), kept));
    if in_pods {
        let pods: Arc<dyn Embodiment> = local.clone();
        supervisor.in_pods(Arc::downgrade(&pods));
    }
    tasks.spawn("ports", Watch::begin(local.clone(), supervisor.clone(), families).run());
    let served = ads::serve(local.clone(), LIMITS).add_service(supervisor.service());
    let (gate, until) = (gate(local.clone()), shutdown.waiter());
    tasks.spawn_graceful("socket", async move { Ok(serve_unix_gated(listener, gate, served, until).await?) });
    let replicas = Replicas::new(&setup.node, setup.link.clone());
    let reports = Reports::new(epoch);
    tasks.spawn("epoch", reports::keep_epoch(reports.clone(), saver.clone()));
    let aging = staleness::run(staleness, local.clone(), replicas.clone(), saver);
    tasks.spawn("age of the hub's word", aging);
    tasks.spawn("hub's addresses", setup.hub.follow(replicas.clone()));
    tasks.spawn("reports", reports.clone().run(setup.node, replicas.clone()));
    tasks.spawn(
        "what is reported",
        reports::follow(reports.clone(), local.clone(), supervisor.clone(), setup.programs.available()),
    );
    let (fed, link) = (local.clone(), setup.link);
    let (feeding, asked) = (replicas.clone(), shutdown.clone());
    tasks.spawn("feed", async move {
        run_feed(feeding, || FeedSink(fed.clone(), link.clone()), asked).await;
        Ok(())
    });
    tasks.spawn("names", names::run(local.clone(), setup.names));
    let presumed = local.clone();
    tasks.spawn("presumptions", async move {
        presumed.keep_presumptions().await;
        Ok(())
    });
    spawn_drivers(tasks, (&local, &supervisor), &replicas);
    let (programs, drain) = (setup.programs, setup.drain);
    let common = node_proxies::Common { programs, ads_socket: path, drain, families };
    tasks.spawn("nodeproxies", node_proxies::run(local.clone(), supervisor.clone(), common));
    let running = supervisor.clone();
    tasks.spawn("keepers", async move {
        running.run().await;
        Ok(())
    });
    Ok(Agent { local, supervisor, reports, replicas })
}

/// Starts the drivers of l7mp proxies, the probes of endpoints, and what tells them of the hub.
fn spawn_drivers(tasks: &mut Tasks, (local, supervisor): (&Arc<Local>, &Supervisor), replicas: &Replicas) {
    let patient = local.clone();
    tasks.spawn("the hub's first word", async move {
        patient.end_patience().await;
        Ok(())
    });
    tasks.spawn("l7mp proxies", l7mp::run(local.clone(), supervisor.clone()));
    tasks.spawn("health", prober::run(local.clone()));
    tasks.spawn("the hub's lease", prober::follow_hub(local.clone(), replicas.clone()));
}

/// Returns what decides which peers may connect to the agent's socket.
fn gate(local: Arc<Local>) -> Gate {
    Arc::new(move |peer| local.door().connect(peer))
}

/// Waits for the end, and then for the final writes to the disk. Failed writes have been logged already.
async fn keep_last_words(saver: Saver, until: impl Future<Output = ()>) -> anyhow::Result<()> {
    until.await;
    let _ = tokio::task::spawn_blocking(move || saver.flush(LAST_WORDS)).await;
    Ok(())
}
