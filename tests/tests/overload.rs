//! A hub with far too little processor time: it must not create extra work for itself, and must catch up soon after it
//! gets enough.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use hyper::http::Uri;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client};
use portreeve_agent::link::{Files, Link};
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::plan::{Health, Unhealthy};
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::crowd::{Held, Member};
use portreeve_tests::exporter::{admin, scrape};
use portreeve_tests::netns::Netns;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::process::Process;
use portreeve_tests::processor_share::ProcessorShare;
use portreeve_tests::town::{BOUND, Trust, serving_at, trust};
use portreeve_tests::{http, manifest, under_test, wait};
use portreeve_xds::Name;
use tempfile::TempDir;

/// Number of nodes, each with an agent, a gateway and a worker that every gateway uses.
const NODES: usize = 200;
/// Share of a processor that the hub has at first, in percent.
const SHARE: u32 = 10;
/// Timeout for all agents to have the first state from the starved hub. Measured: 33 s.
const STARVED: Duration = Duration::from_secs(120);
/// Timeout for all agents to be up to date once the hub has a whole processor.
const RECOVERY: Duration = Duration::from_secs(10);
/// Number of nodes whose worker fails while the hub is starved.
const FAILING: usize = 5;
/// Maximum number of concurrent requests to the API server.
const AT_ONCE: usize = 16;
/// The workers' health port.
const HEALTH: u16 = 1233;
/// The gateways' port before and after the edit made while the hub is starved.
const PORTS: [u16; 2] = [5000, 5001];

const GATEWAY: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: gateway}
spec: {labels: {app: envoy-ingress}}
";

/// An API server with the objects, and a hub that agents can connect to. The share is dropped after all processes.
struct Site {
    hub: Process,
    address: SocketAddr,
    metrics: SocketAddr,
    client: Client,
    share: ProcessorShare,
    own: Netns,
    trust: Trust,
    /// The agents' tokens, in the order of the nodes.
    tokens: Vec<PathBuf>,
    /// The workers' uids.
    uids: Vec<String>,
    _control: ControlPlane,
    _dir: TempDir,
}

// === impl Site ===

impl Site {
    /// Creates the nodes' objects, and a hub without a limit.
    async fn start() -> Result<Self> {
        let control = ControlPlane::start().await?;
        let (client, dir) = (control.client()?, tempfile::tempdir()?);
        let (_, trust) = tokio::try_join!(control.install_crds(), Trust::establish(&client, dir.path()))?;
        manifest::apply(&client, GATEWAY).await?;
        manifest::apply(&client, &call(PORTS[0])).await?;
        let (made, directory) = (&control, dir.path());
        let nodes = stream::iter(0..NODES).map(|i| node(made, &client, (i, directory)));
        let nodes: Vec<(PathBuf, String)> = nodes.buffered(AT_ONCE).try_collect().await?;
        let (tokens, uids) = nodes.into_iter().unzip();
        let mut command = under_test::command("hub")?;
        command.args(["--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--grace=2", "--identity=hub"]);
        command.arg("--kubeconfig").arg(control.kubeconfig("hub")?);
        command.args(&trust.hub_args).env("NO_COLOR", "1");
        let share = ProcessorShare::new()?;
        let mut hub = Process::spawn("hub", &command)?;
        share.hold(hub.pid())?;
        let (address, metrics) = (serving_at(&mut hub)?, admin(&mut hub)?);
        let own = Netns::of(std::process::id(), "here", Ipv4Addr::LOCALHOST)?;
        let site = Self {
            hub,
            address,
            metrics,
            client,
            share,
            own,
            trust,
            tokens,
            uids,
            _control: control,
            _dir: dir,
        };
        let ready = || async { http::get(&site.own, site.metrics, "/readyz").is_ok_and(|got| got.0 == 200) };
        wait::until("a ready hub", BOUND, ready).await?;
        Ok(site)
    }

    /// Starts an agent on each node, all concurrently.
    fn agents(&self) -> Result<Vec<Member>> {
        let hub: Uri = format!("https://{}", self.address).parse()?;
        let link = |token: &PathBuf| {
            Link::Secure(Files { authority: self.trust.authority.clone(), token: token.clone() })
        };
        let start = |(i, token)| Member::start(&name(i), hub.clone(), link(token));
        Ok(self.tokens.iter().enumerate().map(start).collect())
    }

    /// Makes the workers of the first nodes fail.
    fn fail_some(&self, agents: &[Member]) {
        for (agent, uid) in agents.iter().zip(&self.uids).take(FAILING) {
            let (uid, reason) = (uid.clone(), "refused".to_owned());
            agent.report(vec![Unhealthy { uid, port: HEALTH.into(), reason, ..Default::default() }]);
        }
    }

    /// Waits until `Programmed` of the newest generation reports every proxy.
    async fn programmed(&self) -> bool {
        let api = Api::<VirtualService>::namespaced(self.client.clone(), "default");
        let Ok(object) = api.get("call").await else { return false };
        let generation = object.metadata.generation;
        let conditions = object.status.map(|status| status.conditions).unwrap_or_default();
        let is = |c: &&Condition| c.type_ == "Programmed" && c.status == "True";
        conditions.iter().any(|c| is(&c) && c.observed_generation == generation)
    }

    /// Prints how much was sent, and compares it with the necessary amount: each agent's first version of each
    /// resource, and each edit for the nodes that it affects.
    fn counts(&self, agents: &[Member]) -> Result<()> {
        let told: usize = agents.iter().map(|agent| agent.held().resources.len()).sum();
        let least = (told + NODES + FAILING * (NODES - 1)) as f64;
        let sum = |of: fn(&Held) -> u64| agents.iter().map(|agent| of(&agent.held())).sum::<u64>();
        let (received, streams) = (sum(|held| held.received) as f64, sum(|held| held.streams));
        let published = self.metric("portreeve_hub_published_resources_total")?;
        println!(
            "{least} resources had to be sent; {received} came over {streams} streams; the hub published {published} in {} \
             changes of a node's resources",
            self.metric("portreeve_hub_pushes_total")?
        );
        ensure!(received <= 2.0 * least, "{received} resources came, {least} had to");
        ensure!(published <= 2.0 * least, "{published} resources were published, {least} had to be");
        Ok(())
    }

    fn metric(&self, name: &str) -> Result<f64> {
        scrape(&self.own, self.metrics)?.get(name).copied().with_context(|| name.to_owned())
    }
}

/// Creates node `i` with its worker and its agent's token. Returns the worker's uid.
async fn node(
    control: &ControlPlane,
    client: &Client,
    (i, dir): (usize, &Path),
) -> Result<(PathBuf, String)> {
    let (node, ip) = (name(i), format!("10.20.{}.{}", i / 200, i % 200 + 1));
    manifest::apply(client, &format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n")).await?;
    let worker = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: w-{node}, namespace: default, labels: {{app: worker}}}}\n"
    );
    let stored = manifest::apply(
        client,
        &format!("{worker}spec: {{nodeName: {node}, containers: [{{name: c, image: i}}]}}\n"),
    )
    .await?;
    let status = "conditions: [{type: Ready, status: 'True'}]";
    manifest::apply_status(
        client,
        &format!("{worker}status: {{phase: Running, podIP: {ip}, podIPs: [{{ip: {ip}}}], {status}}}\n"),
    )
    .await?;
    let uid = stored.first().and_then(|pod| pod.metadata.uid.clone()).context("a pod without uid")?;
    let (_, token) = trust::agent(control, client, (&node, dir)).await?;
    Ok((token, uid))
}

fn name(i: usize) -> String {
    format!("n{i:03}")
}

fn call(port: u16) -> String {
    virtual_service("call", "app: envoy-ingress", &[Pipe::new("call", port, 6000).checked(HEALTH)])
}

/// What every agent should have: a Plan with this port, and a fresh Health of every other node, of which this number of
/// nodes report a failed worker.
#[derive(Clone, Copy)]
struct Wanted {
    port: u16,
    failing: usize,
}

const FIRST: Wanted = Wanted { port: PORTS[0], failing: 0 };
const EDITED: Wanted = Wanted { port: PORTS[1], failing: FAILING };

/// Returns why an agent is not up to date.
fn lacks(agent: &Member, wanted: Wanted) -> Option<String> {
    let held = agent.held();
    let ports = held.plans.values().flat_map(|plan| &plan.listeners).filter_map(|l| l.socket.as_ref());
    let ports: Vec<u32> = ports.map(|socket| socket.port).collect();
    if ports != [u32::from(wanted.port)] {
        return Some(format!("{}: the Plan's ports are {ports:?}", agent.node));
    }
    let is_newest = |(node, health): (&Name, &Health)| {
        let fails = (0..wanted.failing).any(|i| **node == *name(i));
        !health.stale && health.unhealthy.len() == usize::from(fails)
    };
    let newest = held.health.iter().filter(|one| is_newest(*one)).count();
    (newest < NODES - 1).then(|| format!("{}: the newest word of {newest} nodes", agent.node))
}

fn progress(agents: &[Member], begun: Instant, wanted: Wanted) -> String {
    let sum = |of: fn(&Held) -> usize| agents.iter().map(|agent| of(&agent.held())).sum::<usize>();
    format!(
        "after {:.0?}: {} of {NODES} agents lack something; all hold {} resources, {} words are stale",
        begun.elapsed(),
        all_lack(agents, wanted).len(),
        sum(|held| held.resources.len()),
        sum(|held| held.health.values().filter(|health| health.stale).count()),
    )
}

fn all_lack(agents: &[Member], wanted: Wanted) -> Vec<String> {
    agents.iter().filter_map(|agent| lacks(agent, wanted)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn starved_hub_has_all_agents_in_step_ten_seconds_after_it_has_a_processor() -> Result<()> {
    let site = Site::start().await?;
    let idle = site.hub.usage()?.cpu;
    site.share.limit(SHARE)?;
    let begun = Instant::now();
    let agents = site.agents()?;
    let served = || async { all_lack(&agents, FIRST).is_empty() };
    wait::until("agents with the first state", STARVED, served)
        .await
        .with_context(|| progress(&agents, begun, FIRST))?;
    println!("{}", progress(&agents, begun, FIRST));
    site.fail_some(&agents);
    manifest::apply(&site.client, &call(PORTS[1])).await?;
    // The starved hub distributes the edit, too, and gets its processor in the middle of that.
    let begins = || async { all_lack(&agents, EDITED).len() < NODES };
    wait::until("an agent with the edit", STARVED, begins).await?;
    let used = (site.hub.usage()?.cpu - idle).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("{}; the hub used {used:.3} of a processor", progress(&agents, begun, EDITED));
    ensure!(site.hub.log().contains("this hub is behind"), "the hub had time enough: give it less");

    site.share.limit(100)?;
    let lifted = Instant::now();
    let in_step = || async { all_lack(&agents, EDITED).is_empty() && site.programmed().await };
    wait::until("agents in step", RECOVERY, in_step)
        .await
        .with_context(|| format!("{:?}", all_lack(&agents, EDITED)))?;
    println!("in step {:.1?} after the hub has a processor", lifted.elapsed());
    site.counts(&agents)
}
