//! A real Envoy that gets a Plan's translation over ADS, in front of an application that speaks first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_agent_core::translate::{Defaults, Families, Lookup, Request, Streams};
use portreeve_api::model::{Endpoint, Plan, Secret};
use portreeve_api::plan;
use portreeve_envoy::Envoy;
use portreeve_keeper::envoy::{Bootstrap, Family};
use portreeve_tests::banner;
use portreeve_tests::certs::Signed;
use portreeve_tests::envoy::Admin;
use portreeve_tests::greeter::Greeter;
use portreeve_tests::netns::Netns;
use portreeve_tests::process::Process;
use portreeve_xds::{Event, Hello, Limits, Snapshot, Source, StreamInfo, View, routes, serve_unix};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tonic::Status;

/// Long, because the machine may be busy.
pub const BOUND: Duration = Duration::from_secs(30);
/// The port of the listener.
pub const PORT: u16 = 5000;
/// The name of the group of allowed peers.
pub const PEERS: &str = "peers";

const APPLICATION: u16 = 5001;
/// Short, so that a drained filter chain would soon cut its connections.
const DRAIN_S: &str = "1";

/// The running parts. They end with it.
pub struct Rig {
    /// The object to translate.
    pub plan: plan::Plan,
    /// What its translation looks up.
    pub known: Known,
    /// Envoy's admin interface.
    pub admin: Admin,
    application: Greeter,
    view: Arc<View<Envoy>>,
    _tasks: JoinSet<()>,
    _envoy: Process,
    _dir: TempDir,
}

/// The members of [`PEERS`], and key material.
#[derive(Default)]
pub struct Known {
    /// The members' addresses.
    pub peers: BTreeSet<IpAddr>,
    secrets: BTreeMap<String, Secret>,
    members: Vec<Endpoint>,
}

/// Serves one view to every stream.
struct Server(Arc<View<Envoy>>);

// === impl Rig ===

impl Rig {
    /// Starts Envoy and the application, and waits until the listener is open.
    pub async fn start(netns: &Netns, plan: plan::Plan, known: Known) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("pr-").tempdir()?;
        let view = View::new(Snapshot::new());
        let mut tasks = JoinSet::new();
        let socket = UnixListener::bind(dir.path().join("xds"))?;
        let served = routes(Arc::new(Server(view.clone())), Limits::default());
        tasks.spawn(async move { drop(serve_unix(socket, served, std::future::pending()).await) });
        let application = banner::application(netns, APPLICATION)?;
        let admin = Admin::new(dir.path().join("admin"));
        let envoy = envoy(netns, &dir)?;
        let mut rig = Self { plan, known, admin, application, view, _tasks: tasks, _envoy: envoy, _dir: dir };
        rig.publish()?;
        rig.admin.wait_ready(BOUND).await?;
        Ok(rig)
    }

    /// Translates the Plan and serves the result.
    pub fn publish(&mut self) -> Result<()> {
        self.known.members = self.known.peers.iter().map(|ip| member(*ip)).collect();
        let request = Request {
            plan: &Plan::try_from(self.plan.clone())?,
            families: Families::V4,
            streams: &Streams::Aggregated,
            denied: &BTreeSet::new(),
            running: &BTreeSet::new(),
            defaults: Defaults::default(),
            called: &BTreeMap::new(),
        };
        let done = portreeve_envoy::translate(&request, &self.known).context("something is not known")?;
        ensure!(done.remarks.is_empty(), "{:?}", done.remarks);
        let mut snapshot = Snapshot::new();
        for (ty, resource) in done.outputs {
            snapshot.insert(ty, resource);
        }
        self.view.replace(snapshot);
        Ok(())
    }

    /// Returns how many connections the application accepted.
    pub fn accepted(&self) -> usize {
        self.application.accepted()
    }
}

fn envoy(netns: &Netns, dir: &TempDir) -> Result<Process> {
    let program = portreeve_agent::envoy::locate(None, &mut |step| eprintln!("{step}"))?;
    let bootstrap = Bootstrap {
        node_id: "access".into(),
        node_cluster: "tests".into(),
        ads_socket: dir.path().join("xds"),
        admin_socket: dir.path().join("admin"),
        health_listener: None,
        wildcard: Family::V4,
    };
    let path = dir.path().join("bootstrap.json");
    std::fs::write(&path, bootstrap.render()?.to_string())?;
    let mut command = netns.command(program);
    command.arg("-c").arg(&path).args(["--disable-hot-restart", "--concurrency", "2", "-l", "warning"]);
    command.args(["--drain-time-s", DRAIN_S]);
    Process::spawn("envoy", &command)
}

// === impl Known ===

impl Known {
    /// Adds a certificate and its key under a name.
    pub fn certificate(&mut self, name: &str, signed: &Signed) {
        let (certificate_chain, private_key) = (signed.certificate.clone(), signed.key.clone());
        let secret = Secret {
            certificate_chain: certificate_chain.into(),
            private_key: private_key.into(),
            ..Secret::default()
        };
        self.secrets.insert(name.into(), secret);
    }

    /// Adds an authority under a name.
    pub fn authority(&mut self, name: &str, pem: String) {
        self.secrets.insert(name.into(), Secret { authority: pem.into(), ..Secret::default() });
    }
}

impl Lookup for Known {
    fn group(&self, name: &str) -> Option<Vec<&Endpoint>> {
        (name == PEERS).then(|| self.members.iter().collect())
    }

    fn host(&self, _: &str, _: &str) -> Option<Vec<IpAddr>> {
        None
    }

    fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)
    }

    fn pod_failed(&self, _: &Endpoint, _: NonZeroU16, _: Option<&str>) -> bool {
        false
    }

    fn address_failed(&self, _: IpAddr, _: NonZeroU16, _: Option<&str>) -> bool {
        false
    }

    fn stale(&self, _: &Endpoint) -> bool {
        false
    }
}

fn member(ip: IpAddr) -> Endpoint {
    Endpoint {
        uid: ip.to_string().into(),
        namespace: "ns".into(),
        name: ip.to_string(),
        node: "n".into(),
        ips: vec![ip],
        created_ms: None,
        terminating_ms: None,
        ready: true,
        source: "".into(),
    }
}

// === impl Server ===

impl Source<Envoy> for Server {
    async fn open(&self, _: Hello) -> Result<Arc<View<Envoy>>, Status> {
        Ok(self.0.clone())
    }

    fn event(&self, _: &StreamInfo, event: &Event<Envoy>) {
        if let Event::Nacked { .. } = event {
            eprintln!("rejected: {event:?}");
        }
    }

    fn closed(&self, _: &StreamInfo) {}
}

/// Returns a Plan with a TCP listener on [`PORT`] to the application.
pub fn mk_ingress() -> plan::Plan {
    let socket = |port| plan::Socket { protocol: plan::Protocol::Tcp.into(), port, ..Default::default() };
    let route = plan::Route { destination: "application".into(), ..Default::default() };
    let listener = plan::Listener {
        name: "in".into(),
        socket: Some(socket(PORT.into())),
        rules: vec![plan::Rule { route: Some(route), ..Default::default() }],
        ..Default::default()
    };
    let source = plan::EndpointSource {
        from: Some(plan::endpoint_source::From::Ip("127.0.0.1".into())),
        port: APPLICATION.into(),
        ..Default::default()
    };
    let cluster = plan::Cluster {
        name: "application".into(),
        socket: Some(socket(0)),
        endpoints: vec![source],
        ..Default::default()
    };
    let workload = plan::Workload { selector: Some(plan::Selector::default()), ..Default::default() };
    let (api, namespace, name) = ("A".into(), "ns".into(), "web".into());
    plan::Plan {
        origin: Some(plan::Origin { api, namespace, name, ..Default::default() }),
        workload: Some(workload),
        listeners: vec![listener],
        clusters: vec![cluster],
        ..Default::default()
    }
}
