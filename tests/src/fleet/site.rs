//! A hub process between a simulated API server and simulated agents. Entry point: [`Site::start`].

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hyper::http::Uri;
use portreeve_agent::link::Link;
use portreeve_api::PlanType;
use portreeve_xds::Delta;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ledger::Ledger;
use super::pod::{Phase, Pod, Template};
use super::shape::{FIRST_PORT, Shape, node_name, node_proxy};
use super::source::Source;
use super::store::Store;
use crate::crowd::{Member, Observer};
use crate::exporter::admin;
use crate::process::Process;
use crate::town::serving_at;
use crate::{under_test, wait};

/// The collection of services.
pub const SERVICES: &str = "virtualservices.servicemesh.l7mp.io";
/// The collection of NodeProxies.
pub const PROXIES: &str = "nodeproxies.portreeve.dev";

/// Limit of an HTTP request to the hub.
const ANSWER: Duration = Duration::from_secs(60);
/// The hub is at rest when it has written no status for this long.
const REST: Duration = Duration::from_secs(1);

/// The simulation. Everything in it ends on drop.
pub struct Site {
    /// The numbers of objects.
    pub shape: Shape,
    /// The API server.
    pub source: Source,
    /// What the agents hold.
    pub ledger: Arc<Ledger>,
    /// The hub.
    pub hub: Process,
    /// The address of the hub's metrics.
    pub metrics: SocketAddr,
    /// Number of agents that get the services: the first ones.
    pub concerned: usize,
    /// Whether the service `hot` exists.
    pub has_hot: bool,
    /// The current pod of each number.
    pub pods: Vec<Pod>,
    /// When the hub was started.
    pub begun: Instant,
    address: SocketAddr,
    members: Vec<Member>,
    kubeconfig: NamedTempFile,
}

/// Notes what an agent receives.
struct Eye {
    agent: usize,
    ledger: Arc<Ledger>,
}

// === impl Eye ===

impl Observer for Eye {
    fn received(&self, delta: &Delta<PlanType>) {
        self.ledger.note(self.agent, delta);
    }
}

// === impl Site ===

impl Site {
    /// Starts the API server with all objects, the hub, and the agents. Returns before the agents have anything.
    ///
    /// # Errors
    /// Returns an error if a part doesn't start.
    pub async fn start(shape: Shape) -> Result<Self> {
        let pods: Vec<Pod> = (0..shape.pods()).map(Pod::first).collect();
        let source = Source::start(filled(shape, &pods)).await?;
        let mut kubeconfig = NamedTempFile::new()?;
        kubeconfig.write_all(source.kubeconfig().as_bytes())?;
        let begun = Instant::now();
        let mut hub = hub(&kubeconfig, "127.0.0.1:0")?;
        let (address, metrics) = (serving_at(&mut hub)?, admin(&mut hub)?);
        let ledger = Arc::new(Ledger::new(shape.agents as usize));
        let uri: Uri = format!("http://{address}").parse()?;
        let member = |agent: u32| {
            let eye = Eye { agent: agent as usize, ledger: ledger.clone() };
            Member::observed(&node_name(agent), uri.clone(), Link::Plain, Arc::new(eye))
        };
        let members = (0..shape.agents).map(member).collect();
        let (concerned, has_hot) = (shape.concerned(), false);
        let site = Self {
            shape,
            source,
            ledger,
            hub,
            metrics,
            concerned,
            has_hot,
            pods,
            begun,
            address,
            members,
            kubeconfig,
        };
        Ok(site)
    }

    /// Kills the hub, and starts it with the same address.
    ///
    /// # Errors
    /// Returns an error if it doesn't start.
    pub fn restart_hub(&mut self) -> Result<()> {
        self.hub.kill();
        self.hub = hub(&self.kubeconfig, &self.address.to_string())?;
        self.metrics = admin(&mut self.hub)?;
        Ok(())
    }

    /// Returns the number of agents that lack something, or hold too much.
    pub fn behind(&self) -> usize {
        let plans = self.shape.services as usize + usize::from(self.has_hot);
        let endpoints = self.endpoints();
        let holdings = self.ledger.holdings();
        let (concerned, others) = holdings.split_at(self.concerned);
        let lacking = concerned.iter().filter(|one| (one.plans, one.endpoints) != (plans, endpoints));
        lacking.count() + others.iter().filter(|one| (one.plans, one.endpoints) != (0, 0)).count()
    }

    /// Waits until every agent is connected and holds what it should.
    ///
    /// # Errors
    /// Returns an error with the number of agents that don't after a timeout.
    pub async fn in_sync(&self) -> Result<()> {
        let synced = || async {
            let streams = r#"portreeve_hub_streams{kind="feed"}"#;
            self.ledger.open() == 0
                && self.behind() == 0
                && self.metric(streams).await.is_ok_and(|count| count == self.members.len() as f64)
        };
        let waited = wait::until("agents in sync", self.shape.bound(), synced).await;
        waited.with_context(|| {
            let (open, behind) = (self.ledger.open(), self.behind());
            format!(
                "{open} changes are open, {behind} agents are behind: {:?}",
                self.ledger.holdings().first()
            )
        })
    }

    /// Waits until the hub writes no status.
    ///
    /// # Errors
    /// Returns an error if it still does after a timeout.
    pub async fn at_rest(&self) -> Result<()> {
        let (mut writes, mut since) = (self.source.store.writes(), Instant::now());
        let resting = || {
            let now = self.source.store.writes();
            if now != writes {
                (writes, since) = (now, Instant::now());
            }
            let is_resting = since.elapsed() > REST;
            async move { is_resting }
        };
        wait::until("a hub at rest", self.shape.bound(), resting).await
    }

    /// Waits until all changes have reached their agents.
    ///
    /// # Errors
    /// Returns an error if some have not after a timeout.
    pub async fn settled(&self) -> Result<()> {
        let waited =
            wait::until("settled agents", self.shape.bound(), || async { self.ledger.open() == 0 }).await;
        waited.with_context(|| format!("{} changes are open", self.ledger.open()))
    }

    /// Puts pods into a state, all at once, and expects it on the agents.
    pub fn set(&mut self, numbers: impl IntoIterator<Item = u32>, phase: Phase) {
        let mut changed = Vec::new();
        for number in numbers {
            let pod = self.pods[number as usize].with(phase);
            self.pods[number as usize] = pod;
            self.expect(pod);
            changed.push(pod);
        }
        self.ledger.sent();
        self.source.store.put_pods(changed);
    }

    /// Expects the state of a pod on the agents.
    pub fn expect(&self, pod: Pod) {
        match pod.phase {
            _ if !self.is_endpoint(pod.number) => {}
            Phase::Ready => self.ledger.expect(pod.mark(), self.concerned),
            Phase::Unready => self.ledger.expect_gone(pod.mark(), self.concerned),
            Phase::Pending | Phase::Terminating => {}
        }
    }

    /// Returns whether a pod is an endpoint of a service.
    pub fn is_endpoint(&self, pod: u32) -> bool {
        self.shape.is_used(pod) || self.has_hot && self.shape.is_hot(pod)
    }

    /// Returns the value of a metric of the hub.
    ///
    /// # Errors
    /// Returns an error if the hub doesn't answer, or has no such metric.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let (status, text) = get(self.metrics, "/metrics").await?;
        ensure!(status == 200, "{status} of /metrics");
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value).with_context(|| format!("no metric {name}"))
    }

    /// Returns the number of endpoints in all slices of an agent with all services.
    fn endpoints(&self) -> usize {
        let ready = |number: u32| self.pods[number as usize].phase == Phase::Ready;
        let used = self.shape.used_pods().filter(|pod| ready(*pod)).count();
        used + if self.has_hot { self.shape.hot_pods().filter(|pod| ready(*pod)).count() } else { 0 }
    }
}

/// Requests a path of the hub's metrics port. Returns status and body.
///
/// # Errors
/// Returns an error if it doesn't answer in time, or not with HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        // In HTTP/1.0 the body is not chunked and ends with the connection.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let text = tokio::time::timeout(ANSWER, asking).await.with_context(|| path.to_owned())??;
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP")?;
    let status = head.split_whitespace().nth(1).context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// Returns a store with the objects of a cluster.
fn filled(shape: Shape, pods: &[Pod]) -> Store {
    let store = Store::new(Template::new(shape));
    for name in ["default", "kube-system", "portreeve"] {
        let labels = json!({"kubernetes.io/metadata.name": name});
        let meta = json!({"name": name, "uid": name, "labels": labels});
        store.put("namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta}));
    }
    (0..shape.nodes).for_each(|node| store.put("nodes", shape.node(node)));
    store.put(PROXIES, node_proxy(false));
    (0..shape.services).for_each(|service| store.put(SERVICES, shape.service(service, FIRST_PORT)));
    store.put_pods(pods.iter().copied());
    store
}

fn hub(kubeconfig: &NamedTempFile, listen: &str) -> Result<Process> {
    let mut command = under_test::command("hub")?;
    command.args(["--insecure", "--admin=127.0.0.1:0", "--grace=2", "--identity=hub", "--log-level=info"]);
    command.arg(format!("--listen={listen}")).arg("--kubeconfig").arg(kubeconfig.path()).env("NO_COLOR", "1");
    Process::spawn("hub", &command)
}

/// Returns an object with the next generation, and the status that it has.
pub fn edited(mut object: Value, stored: &Value) -> Value {
    let generation = stored["metadata"]["generation"].as_i64().unwrap_or_default();
    object["metadata"]["generation"] = (generation + 1).into();
    object["status"] = stored["status"].clone();
    object
}
