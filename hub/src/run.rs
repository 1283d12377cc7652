//! The hub's process: its flags, its tasks and their start order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use kube::Client;
use portreeve_runtime::client::{config, limited};
use portreeve_runtime::logs::{self, Format};
use portreeve_runtime::{Liveness, Metrics, Readiness, Shutdown, Tasks, Traces, admin, otlp};
use portreeve_xds::{Limits, routes, serve_tcp};
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::auth::{Account, Door};
use crate::feed::Feed;
use crate::index::Index;
use crate::lease::Election;
use crate::namespaces::Namespaces;
use crate::pod_reader::PodReader;
use crate::reports::Desk;
use crate::settings::Settings;
use crate::traces::Tracer;
use crate::writer::Writer;
use crate::{epic, kinds, metrics, secrets, service_watches, sources, tls, watches};

/// The hub: sends every node's agent the configuration that its node needs.
#[derive(Clone, Debug, Parser)]
#[command(name = "portreeve-hub", version)]
pub struct Args {
    /// Address and port for agents.
    #[arg(long, default_value = "0.0.0.0:18100")]
    pub listen: SocketAddr,
    /// Address and port of /livez, /readyz and /metrics. Default: none is opened.
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// Path of a kubeconfig file. Default: $KUBECONFIG, the user's own file, or the pod's service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Namespaces, separated by commas, whose custom resources and pods the hub watches, serves and writes
    /// conditions for. Default: all namespaces. The hub then needs rights in these namespaces only.
    #[arg(long, value_name = "NAMES", default_value_t, hide_default_value = true)]
    pub namespaces: Namespaces,
    /// Flags that decide what objects mean.
    #[command(flatten)]
    pub settings: Settings,
    /// Flags of sources, which are other Kubernetes clusters.
    #[command(flatten)]
    pub sources: sources::SourceArgs,
    /// How long a node keeps a Plan after its last workload left, in seconds.
    #[arg(long, default_value_t = 30)]
    pub grace: u32,
    /// Identity in the leader's lease. Default: the host name and the process id.
    #[arg(long)]
    pub identity: Option<String>,
    /// Namespace of the hub: its leader's lease and the hubs' shared certificate are there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "portreeve")]
    pub namespace: String,
    /// ServiceAccount of the agents, as namespace/name. Tokens of other accounts are refused.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "portreeve/portreeve-agent")]
    pub agent_service_account: Account,
    /// Flags of the certificate.
    #[command(flatten)]
    pub tls: tls::Args,
    /// Flags of API C.
    #[command(flatten)]
    pub epic: epic::Args,
    /// OTLP/gRPC address of an OpenTelemetry collector for traces of changes, as http://host:port. Default: no tracing.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<otlp::Endpoint>,
    /// Log filter, for example info or portreeve_hub=debug.
    #[arg(long, default_value = "info")]
    pub log_level: String,
    /// Log format: text or json.
    #[arg(long, default_value_t)]
    pub log_format: Format,
}

/// Runs a hub until it is asked to end.
///
/// # Errors
/// Returns the error of the first task that fails, with the task's name.
pub async fn run(args: Args) -> anyhow::Result<()> {
    logs::init(&args.log_level, args.log_format)?;
    let config = config(args.kubeconfig.as_deref()).await?;
    let client = limited(&config)?;
    let shutdown = Shutdown::default();
    let readiness = Readiness::default();
    let index = Index::new(args.settings.clone(), i64::from(args.grace) * 1000).restricted(&args.namespaces);
    let mut tasks = Tasks::new(shutdown.clone());
    let door = door(&mut tasks, &client, &args);
    let feed = Feed::new(index, readiness.clone(), door);
    tasks.spawn("signals", shutdown.clone().on_signal());
    let me = args.identity.clone().unwrap_or_else(identity);
    let traces = Traces::spawn(&mut tasks, "hub", me.clone(), args.otlp_endpoint.clone(), &shutdown);
    if traces.is_on() {
        feed.trace(Tracer::new(traces, me.clone()));
    }
    watches::spawn(&mut tasks, (&client, &config), &feed, (&args.namespaces, &args.settings), &readiness);
    if kinds::use_services() {
        service_watches::spawn(&mut tasks, &client, &feed, &args.namespaces, &readiness);
    }
    tasks.spawn("watches of Secrets", secrets::run(client.clone(), feed.clone()));
    let home = sources::Home { client: &client, config: &config, namespace: &args.namespace };
    sources::spawn(
        &mut tasks,
        &args.sources,
        home,
        followed(&feed, &args.settings, &args.namespaces),
        &readiness,
    )
    .await?;
    tasks.spawn("graces", feed.clone().keep_time());
    let desk = Desk::new(feed.clone());
    tasks.spawn("leases", desk.clone().keep_leases());
    let served = services(&feed, &desk);
    let certificate = serve_agents(&mut tasks, &client, &args, served, (&readiness, &shutdown)).await?;
    let election = Election::new(limited(&config)?, &args.namespace, me.clone());
    let writer = Writer::new(client.clone(), election, me, feed.clone(), desk.clone());
    let leads = writer.leads();
    let of_epic = epic::Hub {
        client,
        feed: feed.clone(),
        leads: leads.clone(),
        namespaces: args.namespaces,
        certificate,
    };
    let allocator = epic::spawn(&mut tasks, of_epic, args.epic, (&readiness, &shutdown)).await?;
    tasks.spawn_graceful("conditions", writer.run(readiness.clone(), shutdown.clone()));
    if let Some(address) = args.admin {
        let liveness = Liveness::default();
        liveness.watch("the hub's state", feed.heart());
        let listener = TcpListener::bind(address).await.with_context(|| format!("--admin {address}"))?;
        let families = move || metrics::of(&feed, &desk, *leads.borrow(), &allocator.usage());
        tracing::info!(address = %listener.local_addr()?, "serving metrics");
        let metrics = Metrics::new("hub", families);
        tasks.spawn("admin", admin::serve(listener, readiness, liveness, metrics, shutdown.clone()));
    }
    tasks.run().await
}

/// Opens the port for agents. Returns the certificate that they are shown; `None` if they are served without TLS.
async fn serve_agents(
    tasks: &mut Tasks,
    client: &Client,
    args: &Args,
    served: Routes,
    (readiness, shutdown): (&Readiness, &Shutdown),
) -> anyhow::Result<Option<Arc<tls::Shown>>> {
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("--listen {}", args.listen))?;
    let address = listener.local_addr()?;
    let mut certificate = None;
    if args.tls.insecure {
        tasks.spawn("feed", serve(served, listener, shutdown.clone()));
    } else {
        let shown = tls::spawn(tasks, client, args.tls.clone(), &args.namespace, readiness).await?;
        tasks.spawn("feed", tls::serve(listener, served, shown.clone(), shutdown.clone()));
        certificate = Some(shown);
    }
    tracing::info!(%address, "serving agents");
    Ok(certificate)
}

/// Returns how sources are followed.
fn followed(feed: &Arc<Feed>, settings: &Settings, served: &Namespaces) -> sources::Followed {
    sources::Followed { feed: feed.clone(), reader: PodReader::new(settings), namespaces: served.clone() }
}

/// Returns all services for agents: the feed, and the desk for their reports.
pub fn services(feed: &Arc<Feed>, desk: &Arc<Desk>) -> Routes {
    routes(feed.clone(), limits()).add_service(desk.service())
}

/// Creates the check that agents must pass.
fn door(tasks: &mut Tasks, client: &Client, args: &Args) -> Door {
    if !args.tls.insecure {
        return Door::guarded(tasks, client, args.agent_service_account.clone());
    }
    tracing::warn!(
        "--insecure: agents are served without TLS and without authentication; every client of this port can read \
         every node's configuration"
    );
    Door::Open
}

/// Serves agents without TLS until the shutdown.
///
/// # Errors
/// Returns an error if the listener fails.
pub async fn serve(routes: Routes, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
    serve_tcp(listener, routes, shutdown.waiter()).await?;
    Ok(())
}

/// Limits of the feed: one stream per node with room for overlapping reconnects. A request may name as many resources
/// as a node has, up to 50,000.
pub fn limits() -> Limits {
    Limits { max_streams: 20_000, max_request: 4 << 20, ..Limits::default() }
}

fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_fit_together() {
        Args::command().debug_assert();
        let read = |words: &[&str]| Args::try_parse_from([&["hub"], words].concat());
        assert!(read(&["--insecure"]).unwrap().tls.insecure);
        assert!(read(&["--tls-cert", "a", "--tls-key", "b"]).is_ok());
        for wrong in [&["--tls-cert", "a"][..], &["--tls-key", "a"], &["--insecure", "--tls-name", "a"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        assert!(read(&["--insecure", "--tls-cert", "a", "--tls-key", "b"]).is_err());
        assert!(read(&["--agent-service-account", "only-a-name"]).is_err());
        assert_eq!(read(&[]).unwrap().namespaces, Namespaces::default());
        assert_eq!(read(&["--namespaces="]).unwrap().namespaces, Namespaces::default());
        assert_eq!(read(&["--namespaces", "b,a"]).unwrap().namespaces.to_string(), "a,b");
        assert!(read(&["--namespaces", "a,"]).is_err());
    }
}
