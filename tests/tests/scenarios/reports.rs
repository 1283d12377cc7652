//! Reports over real sockets: the agent's side with the hub's side, without a cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::http::Uri;
use portreeve_agent::link::Link;
use portreeve_agent::replicas::{Places, Replicas};
use portreeve_agent::reports::Reports;
use portreeve_agent::reports::stubs::reports_client::ReportsClient;
use portreeve_api::PlanType;
use portreeve_api::plan::{Health, Unhealthy};
use portreeve_api::report::{Beat, Hello, PlanStatus, Report, Verdicts};
use portreeve_hub::auth::Door;
use portreeve_hub::feed::Feed;
use portreeve_hub::files::{Folder, Reading};
use portreeve_hub::index::Index;
use portreeve_hub::reports::Desk;
use portreeve_hub::run::{serve, services};
use portreeve_hub::selection::SelectorScope;
use portreeve_runtime::{Readiness, Shutdown};
use portreeve_tests::wait;
use portreeve_xds::{Connect, Delta, Name, Node, Sink, Version};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

const BOUND: Duration = Duration::from_secs(20);

/// A gateway on n1 uses a worker on n2.
const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
---
apiVersion: v1
kind: Pod
metadata: {name: gw, uid: gw, labels: {app: gw}}
spec: {nodeName: n1, containers: []}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: w, uid: w, labels: {app: w}}
spec: {nodeName: n2, containers: []}
status: {phase: Running, podIP: 10.0.0.2, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: servicemesh.l7mp.io/v1
kind: VirtualService
metadata: {name: call}
spec:
  selector: {app: gw}
  listeners:
    - name: l
      udp:
        port: 2000
        cluster:
          name: c
          service_discovery: eds
          endpoints: [{name: w, host: {selector: {app: w}}, port: 9}]
";

/// A hub without a cluster. Its objects are given.
struct Hub {
    desk: Arc<Desk>,
    address: SocketAddr,
    shutdown: Shutdown,
    tasks: JoinSet<Result<()>>,
}

/// The Health of other nodes that a node's agent received.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<Name, Health>>>);

/// The reporting part of a node's agent.
struct Reporter {
    reports: Reports,
    replicas: Replicas,
    tasks: JoinSet<Result<()>>,
}

// === impl Hub ===

impl Hub {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("all.yaml"), OBJECTS)?;
        let Reading { objects, complaints, .. } = Folder::new(dir.path()).read(1);
        anyhow::ensure!(complaints.is_empty(), "{complaints:?}");
        let feed = Feed::new(Index::new(SelectorScope::Namespace, 1000), Readiness::default(), Door::Open);
        feed.load(|index, now| objects.reset(index, now));
        let (desk, shutdown) = (Desk::new(feed.clone()), Shutdown::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(services(&feed, &desk), listener, shutdown.clone()));
        tasks.spawn(desk.clone().keep_leases());
        Ok(Self { desk, address, shutdown, tasks })
    }

    fn uri(&self) -> Uri {
        uri(self.address)
    }

    /// Starts the feed of a node's agent from this hub, in `tasks`.
    fn feed(&self, node: &'static str, tasks: &mut JoinSet<Result<()>>) -> Seen {
        let (seen, connect) = (Seen::default(), Connect::Uri(self.uri()));
        let sink = Recorder { node, seen: seen.clone() };
        tasks.spawn(async move {
            portreeve_xds::run(connect, sink, std::future::pending()).await;
            Ok(())
        });
        seen
    }

    async fn stop(mut self) {
        self.shutdown.begin();
        let _ = self.tasks.join_next().await;
    }
}

fn uri(address: SocketAddr) -> Uri {
    Uri::try_from(format!("http://{address}")).unwrap_or_default()
}

// === impl Seen ===

impl Seen {
    fn of(&self, node: &str) -> Option<Health> {
        self.0.lock().ok()?.get(node).cloned()
    }

    async fn wait(&self, what: &str, wanted: impl Fn(&Health) -> bool) -> Result<Health> {
        wait::eventually(what, BOUND, || async { self.of("n2").filter(|health| wanted(health)) }).await
    }
}

struct Recorder {
    node: &'static str,
    seen: Seen,
}

impl Sink<PlanType> for Recorder {
    fn node(&self) -> Node {
        Node { id: self.node.into(), ..Node::default() }
    }

    fn known(&self) -> Vec<(PlanType, Name, Version)> {
        Vec::new()
    }

    fn apply(&mut self, delta: Delta<PlanType>) -> Result<(), String> {
        for one in delta.upsert.into_iter().filter(|_| delta.ty == PlanType::Health) {
            let health = Health::decode(one.body).map_err(|e| e.to_string())?;
            self.seen.0.lock().map_err(|e| e.to_string())?.insert(one.name, health);
        }
        Ok(())
    }

    fn connected(&mut self, _connected: bool) {}
}

// === impl Reporter ===

impl Reporter {
    fn start(node: &str, epoch: u64, hubs: Vec<Uri>) -> Self {
        let (reports, replicas) = (Reports::new(epoch), Replicas::new(node, Link::Plain));
        let mut tasks = JoinSet::new();
        tasks.spawn(Places::Uris(hubs).follow(replicas.clone()));
        tasks.spawn(reports.clone().run(node.to_owned(), replicas.clone()));
        Self { reports, replicas, tasks }
    }

    /// Returns the number of replicas that answer now.
    fn answering(&self) -> usize {
        self.replicas.heard_at().borrow().values().filter(|heard| heard.since.is_some()).count()
    }
}

fn unhealthy(uid: &str) -> Unhealthy {
    Unhealthy { uid: uid.into(), port: 7, reason: "refused".into(), ..Default::default() }
}

/// A client that implements the protocol itself.
struct Raw {
    reports: mpsc::Sender<Report>,
    beats: Streaming<Beat>,
}

impl Raw {
    async fn attach(hub: &Hub) -> Result<Self> {
        let mut client = ReportsClient::connect(hub.uri().to_string()).await?;
        let (reports, outbound) = mpsc::channel(8);
        let beats = client.attach(ReceiverStream::new(outbound)).await?.into_inner();
        Ok(Self { reports, beats })
    }

    async fn say(&mut self, report: Report) -> Result<Beat, Status> {
        self.reports.send(report).await.map_err(|_| Status::aborted("hung up"))?;
        self.beats.message().await?.ok_or_else(|| Status::aborted("no beat"))
    }
}

fn hello(node: &str) -> Report {
    Report { hello: Some(Hello { node: node.into(), ..Default::default() }), beat: 1, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn verdict_reaches_the_node_that_uses_the_endpoint_through_every_replica() -> Result<()> {
    let (one, other) = (Hub::start().await?, Hub::start().await?);
    let mut feeds = JoinSet::new();
    let seen = [one.feed("n1", &mut feeds), other.feed("n1", &mut feeds)];
    let own = one.feed("n2", &mut feeds);
    let agent = Reporter::start("n2", 5, vec![one.uri(), other.uri()]);
    wait::until("both replicas", BOUND, || async { agent.answering() == 2 }).await?;
    assert!(seen[0].of("n2").is_none(), "nothing was probed yet");
    agent.reports.set_health(Vec::new(), Vec::new());
    for seen in &seen {
        seen.wait("a healthy node", |health| health.unhealthy.is_empty() && !health.stale).await?;
    }
    let begun = Instant::now();
    agent.reports.set_health(vec![unhealthy("w")], Vec::new());
    for seen in &seen {
        let health = seen.wait("the verdict", |health| health.unhealthy.len() == 1).await?;
        assert_eq!((health.node.as_str(), health.epoch, health.sequence), ("n2", 5, 2));
    }
    println!("a verdict was with both after {:?}", begun.elapsed());
    assert!(own.of("n2").is_none(), "the node itself knows");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_node_is_stale_within_its_lease_and_fresh_when_it_is_back() -> Result<()> {
    let (hub, mut feeds) = (Hub::start().await?, JoinSet::new());
    let seen = hub.feed("n1", &mut feeds);
    let mut agent = Reporter::start("n2", 5, vec![hub.uri()]);
    agent.reports.set_health(vec![unhealthy("w")], Vec::new());
    seen.wait("the verdict", |health| !health.stale).await?;
    agent.tasks.abort_all();
    let begun = Instant::now();
    let stale = seen.wait("the stale mark", |health| health.stale).await?;
    println!("stale after {:?}", begun.elapsed());
    assert_eq!(stale.unhealthy.len(), 1, "what was said stands");
    let back = Reporter::start("n2", 4, vec![hub.uri()]);
    back.reports.set_health(Vec::new(), Vec::new());
    let fresh = seen.wait("the successor's word", |health| !health.stale).await?;
    assert_eq!((fresh.epoch, fresh.unhealthy.len()), (6, 0), "later than what the hub had heard of");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_of_plans_are_the_latest_and_go_with_their_plans() -> Result<()> {
    let hub = Hub::start().await?;
    let agent = Reporter::start("n2", 5, vec![hub.uri()]);
    let mut changes = hub.desk.changes();
    let status = |acked| {
        let status = PlanStatus { plan: "A/default/call".into(), wanted: 2, acked, ..Default::default() };
        BTreeMap::from([(Name::from("A/default/call"), Arc::new(status))])
    };
    let acked = || hub.desk.statuses_of("A/default/call").first().map(|one| one.status.acked);
    for count in 0..3 {
        agent.reports.set_plans(status(count));
        wait::until("the status", BOUND, || async { acked() == Some(count) }).await?;
    }
    assert!(changes.has_changed()? && hub.desk.take_changed().contains_key("A/default/call"));
    changes.mark_unchanged();
    agent.reports.set_plans(BTreeMap::new());
    wait::until("no status", BOUND, || async { acked().is_none() }).await?;
    assert!(hub.desk.take_changed().contains_key("A/default/call"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_of_a_node_that_falls_silent_is_unreachable_and_has_news() -> Result<()> {
    let hub = Hub::start().await?;
    let mut raw = Raw::attach(&hub).await?;
    let plans = vec![PlanStatus { plan: "p".into(), ..Default::default() }];
    raw.say(Report { plans, ..hello("n2") }).await?;
    assert!(hub.desk.statuses_of("p")[0].reachable);
    hub.desk.take_changed();
    let reachable = || hub.desk.statuses_of("p")[0].reachable;
    wait::until("an unreachable node", BOUND, || async { !reachable() }).await?;
    assert!(hub.desk.take_changed().contains_key("p"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_reports_are_refused_with_words_and_disturb_nobody() -> Result<()> {
    let (hub, mut feeds) = (Hub::start().await?, JoinSet::new());
    let seen = hub.feed("n1", &mut feeds);
    let agent = Reporter::start("n2", 5, vec![hub.uri()]);
    agent.reports.set_health(vec![unhealthy("w")], Vec::new());
    seen.wait("the verdict", |health| health.unhealthy.len() == 1).await?;
    wait::until("a first beat", BOUND, || async { agent.answering() == 1 }).await?;
    let last = || agent.replicas.heard_at().borrow().values().next().and_then(|heard| heard.since);
    let since = last();
    let bad_port =
        Verdicts { epoch: 9, sequence: 9, unhealthy: vec![Unhealthy { port: 0, ..unhealthy("w") }] };
    let huge = Verdicts { epoch: 9, sequence: 9, unhealthy: vec![unhealthy(&"u".repeat(1000)); 5000] };
    let cases = [
        (Report::default(), Code::InvalidArgument, "hello is missing"),
        (hello(""), Code::InvalidArgument, "hello.node"),
        (Report { verdicts: Some(bad_port), ..hello("n2") }, Code::InvalidArgument, "unhealthy[0].port"),
        (Report { verdicts: Some(huge), ..hello("n2") }, Code::OutOfRange, "too large"),
    ];
    for (report, code, words) in cases {
        let refused = Raw::attach(&hub).await?.say(report).await.expect_err(words);
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().contains(words), "{refused:?}");
    }
    let mut twice = Raw::attach(&hub).await?;
    twice.say(hello("n3")).await?;
    assert_eq!(twice.say(hello("n2")).await.expect_err("a second hello").code(), Code::InvalidArgument);
    assert_eq!(seen.of("n2").context("health")?.unhealthy.len(), 1);
    assert_eq!(last(), since, "the agent's own stream was never broken");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_stream_is_left_with_words() -> Result<()> {
    let hub = Hub::start().await?;
    let mut raw = Raw::attach(&hub).await?;
    assert_eq!(raw.say(hello("n2")).await?.epoch_seen, 0);
    let begun = Instant::now();
    let left = raw.beats.message().await.expect_err("a silent stream ends");
    assert_eq!(left.code(), Code::DeadlineExceeded, "{left:?}");
    println!("left after {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_that_answers_nothing_is_left_and_the_others_go_on() -> Result<()> {
    let hub = Hub::start().await?;
    // It accepts connections, and does nothing else.
    let deaf = TcpListener::bind("127.0.0.1:0").await?;
    let agent = Reporter::start("n2", 5, vec![uri(deaf.local_addr()?), hub.uri()]);
    wait::until("the good replica", BOUND, || async { agent.answering() == 1 }).await?;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(tokio::time::timeout(BOUND, deaf.accept()).await.context("another try")??);
    }
    assert_eq!(agent.answering(), 1);
    hub.stop().await;
    wait::until("no replica", BOUND, || async { agent.answering() == 0 }).await
}
