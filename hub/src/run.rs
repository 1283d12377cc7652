//! The hub's process: flags, tasks, and the order in which they start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use kube::Client;
use portreeve_runtime::logs::{self, Format};
use portreeve_runtime::{Liveness, Metrics, Readiness, Shutdown, Tasks, Traces, admin, client, otlp};
use portreeve_xds::{Limits, routes, serve_tcp};
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::auth::{Account, Door};
use crate::feed::Feed;
use crate::index::Index;
use crate::namespaces::Namespaces;
use crate::reports::Desk;
use crate::selection::SelectorScope;
use crate::traces::Tracer;
use crate::writer::Writer;
use crate::{metrics, tls, watches};

/// The hub: serves every node's agent just what concerns it.
#[derive(Clone, Debug, Parser)]
#[command(name = "portreeve-hub", version)]
pub struct Args {
    /// Address and port that agents connect to.
    #[arg(long, default_value = "0.0.0.0:18100")]
    pub listen: SocketAddr,
    /// Address and port of /livez, /readyz and /metrics; none is opened without it.
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// A kubeconfig file; without it $KUBECONFIG, the user's own, or the pod's service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The namespaces whose VirtualServices and pods the hub watches, serves and writes conditions on, as a list with commas.
    /// Without it all namespaces. Rights in these namespaces are enough for both kinds.
    #[arg(long, value_name = "NAMES", default_value_t, hide_default_value = true)]
    pub namespaces: Namespaces,
    /// Where selectors look.
    #[arg(long, value_enum, default_value = "namespace")]
    pub selector_scope: SelectorScope,
    /// Seconds that a node keeps a Plan after its last workload left.
    #[arg(long, default_value_t = 30)]
    pub grace: u32,
    /// Identity in the leader's lease; the host's name and the process id without it.
    #[arg(long)]
    pub identity: Option<String>,
    /// The hub's own namespace: of the leader's lease, and of the certificate that the hubs share.
    #[arg(long, env = "POD_NAMESPACE", default_value = "portreeve")]
    pub namespace: String,
    /// The ServiceAccount of the agents, as namespace/name: tokens of others are refused.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "portreeve/portreeve-agent")]
    pub agent_service_account: Account,
    /// Its certificate.
    #[command(flatten)]
    pub tls: tls::Args,
    /// An OpenTelemetry collector, as http://host:port of its OTLP port for gRPC, that is told what becomes of each change;
    /// nothing is traced without it.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<otlp::Endpoint>,
    /// Log filter.
    #[arg(long, default_value = "info")]
    pub log_level: String,
    /// text or json.
    #[arg(long, default_value_t)]
    pub log_format: Format,
}

/// Runs a hub until it is asked to end.
///
/// # Errors
/// The first task that failed, by name.
pub async fn run(args: Args) -> anyhow::Result<()> {
    logs::init(&args.log_level, args.log_format)?;
    let client = client(args.kubeconfig.as_deref()).await?;
    let shutdown = Shutdown::default();
    let readiness = Readiness::default();
    let index = Index::new(args.selector_scope, i64::from(args.grace) * 1000).restricted(&args.namespaces);
    let mut tasks = Tasks::new(shutdown.clone());
    let door = door(&mut tasks, &client, &args);
    let feed = Feed::new(index, readiness.clone(), door);
    tasks.spawn("signals", shutdown.clone().on_signal());
    let me = args.identity.unwrap_or_else(identity);
    let traces = Traces::spawn(&mut tasks, ("hub", me.clone()), args.otlp_endpoint, &shutdown);
    if traces.is_on() {
        feed.trace(Tracer::new(traces, me.clone()));
    }
    watches::spawn(&mut tasks, &client, &feed, (&args.namespaces, &readiness));
    tasks.spawn("graces", feed.clone().keep_time());
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("--listen {}", args.listen))?;
    let desk = Desk::new(feed.clone());
    tasks.spawn("leases", desk.clone().keep_leases());
    let (served, address) = (services(&feed, &desk), listener.local_addr()?);
    if args.tls.insecure {
        tasks.spawn("feed", serve(served, listener, shutdown.clone()));
    } else {
        let shown = tls::spawn(&mut tasks, &client, args.tls, &args.namespace, &readiness).await?;
        tasks.spawn("feed", tls::serve(listener, served, shown, shutdown.clone()));
    }
    tracing::info!(%address, "serving agents");
    let claim = (args.namespace, me);
    let writer = Writer::new(client, claim, feed.clone(), desk.clone());
    let leads = writer.leads();
    tasks.spawn_graceful("conditions", writer.run(readiness.clone(), shutdown.clone()));
    if let Some(address) = args.admin {
        let liveness = Liveness::default();
        liveness.watch("the hub's state", feed.heart());
        let listener = TcpListener::bind(address).await.with_context(|| format!("--admin {address}"))?;
        let metrics = Metrics::new("hub", move || metrics::of(&feed, &desk, *leads.borrow()));
        tracing::info!(address = %listener.local_addr()?, "serving metrics");
        tasks.spawn("admin", admin::serve(listener, (readiness, liveness, metrics), shutdown.clone()));
    }
    tasks.run().await
}

/// All that agents are served: the feed, and the desk at which they report.
pub fn services(feed: &Arc<Feed>, desk: &Arc<Desk>) -> Routes {
    routes(feed.clone(), limits()).add_service(desk.service())
}

/// Who is let in.
fn door(tasks: &mut Tasks, client: &Client, args: &Args) -> Door {
    if !args.tls.insecure {
        return Door::guarded(tasks, client, args.agent_service_account.clone());
    }
    tracing::warn!(
        "--insecure: agents are served in the clear and believed whatever they say; whoever reaches this port reads \
         every node's configuration"
    );
    Door::Open
}

/// Serves agents in the clear until the shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve(routes: Routes, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
    serve_tcp(listener, routes, shutdown.waiter()).await?;
    Ok(())
}

/// One stream for each node, and room for reconnects that overlap. A request names at most what a node holds: 50,000
/// resources fit.
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
