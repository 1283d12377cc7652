//! Whose verdict counts for an endpoint on another node, as seen by the endpoint and the gateways.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use portreeve_tests::call::Pipe;
use portreeve_tests::envoy::Admin;
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::Echo;
use portreeve_tests::wait::{self, wait_until};

/// Number of endpoints on the second node; another is on the first.
const PODS: u8 = 4;
/// The endpoints' UDP port, their TCP port, and the service's port.
const FORWARD: u16 = 10_000;
const HEALTH: u16 = 1233;
const LISTEN: u16 = 5000;
/// Interval between two probes of an endpoint.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the test observes which nodes probe.
const LOOK: Duration = Duration::from_secs(3);
/// Long, because the machine may be busy.
const MOVED: Duration = Duration::from_secs(10);

/// A pod that answers.
struct Endpoint {
    worker: Worker,
    door: Option<HealthPort>,
    _echo: Echo,
}

// === impl Endpoint ===

impl Endpoint {
    async fn start(town: &Town, i: u8, j: u8) -> Result<Self> {
        let worker = town.worker(i, j, "app: worker", false).await?;
        let echo = Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), FORWARD))?;
        let mut endpoint = Self { worker, door: None, _echo: echo };
        endpoint.open()?;
        Ok(endpoint)
    }

    fn open(&mut self) -> Result<()> {
        let address = SocketAddr::new(self.worker.ip(), HEALTH);
        self.door = Some(HealthPort::open(&self.worker.netns, address)?);
        Ok(())
    }

    /// Waits until a gateway uses it, or doesn't.
    async fn is_used(&self, gateway: &Admin, used: bool) -> Result<()> {
        let bad = format!("::{}:{FORWARD}::health_flags::/failed_eds_health", self.worker.ip());
        let good = format!("::{}:{FORWARD}::health_flags::healthy", self.worker.ip());
        let wanted = if used { &good } else { &bad };
        wait::until(&format!("{} used: {used}", self.worker.name), MOVED, || async {
            gateway.clusters().await.is_ok_and(|text| text.contains(wanted))
        })
        .await
    }
}

/// Two nodes with gateways, and a service whose endpoints are on the second node, except the last.
async fn start() -> Result<(Town, Vec<Endpoint>)> {
    let town = Town::start(2).await?;
    town.gateways().await?;
    let mut endpoints = Vec::new();
    for j in 1..=PODS {
        endpoints.push(Endpoint::start(&town, 2, j).await?);
    }
    endpoints.push(Endpoint::start(&town, 1, 1).await?);
    town.apply(&format!(
        "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {{name: s, namespace: default}}\n\
         spec:\n  selector: {{app: envoy-ingress}}\n  listeners:\n  - name: s\n    udp:\n      port: {LISTEN}\n      \
         cluster:\n        name: s\n        service_discovery: eds\n        \
         health_check: {{interval: {}, protocol: TCP}}\n        endpoints:\n        - name: e\n          \
         host: {{selector: {{app: worker}}}}\n          port: {FORWARD}\n          health_check_port: {HEALTH}\n",
        INTERVAL.as_millis()
    ))
    .await?;
    for node in &town.nodes {
        listeners(&node.gateway(), &["s"], BOUND).await?;
        for endpoint in &endpoints {
            endpoint.is_used(&node.gateway(), true).await?;
        }
    }
    Ok((town, endpoints))
}

/// Returns the number of probes from an address so far, by the endpoint's name.
fn probes(endpoints: &[Endpoint], from: IpAddr) -> BTreeMap<&str, u64> {
    let count = |endpoint: &Endpoint| {
        endpoint.door.as_ref().map(HealthPort::sources).and_then(|sources| sources.get(&from).copied())
    };
    endpoints.iter().map(|e| (&*e.worker.name, count(e).unwrap_or_default())).collect()
}

/// Returns the endpoints whose count has grown.
fn grown<'a>(before: &BTreeMap<&'a str, u64>, after: &BTreeMap<&'a str, u64>) -> Vec<&'a str> {
    after.iter().filter(|(name, count)| before.get(*name) != Some(*count)).map(|(name, _)| *name).collect()
}

/// Waits until at most one remote endpoint is probed from `from`. Returns the ones probed within [`LOOK`].
fn looked_at(endpoints: &[Endpoint], from: IpAddr) -> Result<Vec<&str>> {
    let mut seen = (probes(endpoints, from), Instant::now());
    wait_until("a node that looks at one endpoint of the other", MOVED, || {
        let now = probes(endpoints, from);
        if grown(&seen.0, &now).len() > 1 {
            seen = (now, Instant::now());
        }
        seen.1.elapsed() > LOOK
    })?;
    Ok(grown(&seen.0, &probes(endpoints, from)))
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_word_of_the_owner_spares_its_endpoints_the_probes_of_others() -> Result<()> {
    let (town, mut endpoints) = start().await?;
    let (user, owner) = (town.nodes[0].address(), town.nodes[1].address());
    let count = usize::from(PODS);
    let before = probes(&endpoints[..count], owner);
    let looked = looked_at(&endpoints[..count], user)?;
    let after = probes(&endpoints[..count], owner);
    let own: Vec<u64> = after.iter().map(|(name, count)| count - before[name]).collect();
    println!("in {LOOK:?} the owner probed its endpoints {own:?} times, the user one of them: {looked:?}");
    // At least half as often as configured, because the machine may be busy.
    let least = LOOK.as_millis() / INTERVAL.as_millis() / 2;
    ensure!(own.iter().all(|count| u128::from(*count) >= least), "{own:?} probes by the owner");
    ensure!(looked.len() == 1, "{looked:?}");

    // An endpoint that isn't probed from here fails: gateways can only learn that from its owner.
    let spared = |e: &Endpoint| e.worker.name != looked[0];
    let place = endpoints[..count].iter().position(spared).unwrap_or_default();
    let gateway = town.nodes[0].gateway();
    endpoints[place].door = None;
    endpoints[place].is_used(&gateway, false).await?;
    endpoints[place].open()?;
    endpoints[place].is_used(&gateway, true).await?;
    looked_at(&endpoints[..count], user)?;
    let door = endpoints[place].door.as_ref().map(HealthPort::sources).unwrap_or_default();
    println!("probes of the endpoint that was closed and opened again: {door:?}");
    ensure!(door.keys().all(|from| *from == owner), "{door:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn local_failure_wins_over_the_owners_good_word() -> Result<()> {
    let (town, endpoints) = start().await?;
    let (cut, gateways) = (&endpoints[..usize::from(PODS)], [0, 1].map(|i| town.nodes[i].gateway()));
    looked_at(cut, town.nodes[0].address())?;
    // The first node's frames to these pods are lost. All other nodes reach them.
    let neigh = |end: &Endpoint, verb: &str, more: &str| {
        let line = format!("neigh {verb} {} {more} dev eth0", end.worker.ip());
        town.nodes[0].netns.ip(&[line])
    };
    let began = Instant::now();
    cut.iter().try_for_each(|end| neigh(end, "replace", "lladdr 02:00:00:00:00:99 nud permanent"))?;
    for endpoint in cut {
        endpoint.is_used(&gateways[0], false).await?;
    }
    println!("all {PODS} endpoints behind the broken way were left after {:.1?}", began.elapsed());
    let at = |i: usize| SocketAddr::new(town.nodes[i].address(), LISTEN);
    for _ in 0..10 {
        let by = Pipe::open(town.bed.root(), at(0))?.ask()?;
        ensure!(by == endpoints[usize::from(PODS)].worker.name, "{by} can't be reached from there");
    }
    for endpoint in &endpoints {
        endpoint.is_used(&gateways[1], true).await?;
    }
    let owner = town.nodes[1].agent.as_ref().map(|agent| agent.log()).unwrap_or_default();
    ensure!(!owner.contains("not healthy"), "the owner has another opinion:\n{owner}");
    cut.iter().try_for_each(|end| neigh(end, "del", ""))?;
    for endpoint in &endpoints {
        endpoint.is_used(&gateways[0], true).await?;
    }
    Ok(())
}
