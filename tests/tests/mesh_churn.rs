//! Media calls on l7mp proxies, as a media controller writes them: four VirtualServices and four Rules each, by several
//! concurrent writers. Afterwards nothing is left of them on the proxies, whose processes are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use portreeve_api::b::{rule, target, virtual_service};
use portreeve_tests::l7mp::{Proxy, Settings};
use portreeve_tests::town::{BOUND, Town, Worker};
use portreeve_tests::wait;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The number of calls, unless [`CALLS_VARIABLE`] sets another. One call has four objects of each kind.
const CALLS: u16 = 100;
const CALLS_VARIABLE: &str = "PORTREEVE_MESH_CALLS";
/// Number of writers.
const WRITERS: u16 = 8;
/// The sides of a call: two users, each with RTP and RTCP.
const SIDES: [&str; 4] = ["a-rtp", "a-rtcp", "b-rtp", "b-rtcp"];
/// The rule lists in the workers' own configuration.
const LISTS: [&str; 2] = ["worker-rtp-rulelist", "worker-rtcp-rulelist"];
/// Calls per second in the measurement of latency, and its duration in seconds.
const RATE: u16 = 20;
const SECONDS: u16 = 3;
/// The number of kills, unless [`KILLS_VARIABLE`] sets another.
const KILLS: usize = 10;
const KILLS_VARIABLE: &str = "PORTREEVE_KILLS";
/// The number of calls that exist at a time while parts are killed.
const STANDING: u16 = 20;
/// Timeout for events that depend on thousands of objects.
const LONG: Duration = Duration::from_secs(240);

/// The cluster with a gateway and a worker.
struct Stage {
    town: Town,
    gateway: Proxy,
    worker: Proxy,
    _pods: [Worker; 2],
    services: Api<DynamicObject>,
    rules: Api<DynamicObject>,
}

/// Writes calls.
#[derive(Clone)]
struct Writer {
    services: Api<DynamicObject>,
    rules: Api<DynamicObject>,
}

/// The parts that are killed.
#[derive(Clone, Copy, Debug)]
enum Part {
    Gateway,
    Worker,
    ApiServer,
    Hub,
    Agent(usize),
}

const PARTS: [Part; 6] =
    [Part::Gateway, Part::Worker, Part::ApiServer, Part::Hub, Part::Agent(0), Part::Agent(1)];

fn api(client: &Client, resource: &ApiResource) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), "default", resource)
}

fn object(resource: &ApiResource, name: &str, spec: Value) -> Result<DynamicObject> {
    let meta = json!({"name": name, "namespace": "default"});
    let object =
        json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": spec});
    Ok(serde_json::from_value(object)?)
}

/// The worker's own configuration: two JSONSocket listeners and their empty rule lists.
fn worker_settings() -> Settings {
    let listener = |port: u16, list: &str| {
        let spec = json!({"protocol": "JSONSocket", "transport": {"protocol": "UDP", "port": port}});
        json!({"name": format!("listener-{port}"), "spec": spec, "rules": list})
    };
    let list = |name: &str| json!({"name": name, "rules": []});
    Settings {
        strict: true,
        listeners: vec![listener(19_000, LISTS[0]), listener(19_001, LISTS[1])],
        lists: LISTS.map(list).to_vec(),
        ..Settings::default()
    }
}

/// The objects of one side of a call: a port of the gateway, and a rule of the worker.
fn side(number: u16, at: usize) -> Result<[DynamicObject; 2]> {
    let (kind, user) = (at % 2, at / 2);
    let at = u16::try_from(at)?;
    let (port, name) = (20_000 + number * 4 + at, format!("c{number}-{}", SIDES[usize::from(at)]));
    let label = json!({"path": "/labels/callid", "valueStr": format!("c{number}")});
    let tag = json!({"path": "/labels/tag", "valueStr": SIDES[usize::from(at)]});
    let target = ["rtp", "rtcp"][kind];
    let retry = json!({"retry_on": "always", "num_retries": 5, "timeout": 250});
    let listener = json!({
        "spec": {"UDP": {"port": port}},
        "rules": [{"action": {
            "rewrite": [label, tag],
            "route": {"destinationRef": format!("/l7mp.io/v1/Target/default/{target}"), "retry": retry},
        }}],
    });
    let gateway = json!({"selector": {"matchLabels": {"app": "gateway"}}, "listener": listener});
    let cluster = json!({
        "name": format!("c-{name}"),
        "spec": {"UDP": {"port": 10_000 + u16::try_from(user)?}},
        "endpoints": [{"spec": {"address": "127.0.0.1"}}],
    });
    let test = json!({"op": "and", "apply": [
        {"op": "test", "path": "/JSONSocket/labels/callid", "value": format!("c{number}")},
        {"op": "test", "path": "/JSONSocket/labels/tag", "value": SIDES[usize::from(at)]},
    ]});
    let rule = json!({"match": test, "action": {"route": {"destination": cluster, "retry": retry}}});
    let worker = json!({
        "selector": {"matchLabels": {"app": "worker"}}, "rulelist": LISTS[kind], "position": 0, "rule": rule,
    });
    Ok([
        object(&(virtual_service::DEFINITION.resource)(), &name, gateway)?,
        object(&(rule::DEFINITION.resource)(), &name, worker)?,
    ])
}

// === impl Writer ===

impl Writer {
    async fn create(&self, number: u16) -> Result<()> {
        for at in 0..SIDES.len() {
            let [service, rule] = side(number, at)?;
            self.services.create(&PostParams::default(), &service).await?;
            self.rules.create(&PostParams::default(), &rule).await?;
        }
        Ok(())
    }

    async fn delete(&self, number: u16) -> Result<()> {
        for side in SIDES {
            let name = format!("c{number}-{side}");
            self.services.delete(&name, &DeleteParams::default()).await?;
            self.rules.delete(&name, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Creates and deletes one call after the other, until it is stopped. Whatever the API server does not answer is
    /// written again.
    async fn churn(self, stop: watch::Receiver<bool>) {
        let mut number: u16 = 0;
        while !*stop.borrow() {
            let old = number.checked_sub(STANDING);
            let _ = self.create(number % 1000).await;
            if let Some(old) = old {
                while self.delete(old % 1000).await.is_err_and(|error| !is_status(&error, 404)) {}
            }
            number += 1;
        }
    }
}

/// Whether the API server answered with this status.
fn is_status(error: &anyhow::Error, code: u16) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == code)
}

// === impl Stage ===

impl Stage {
    async fn start() -> Result<Self> {
        let town = Town::start(2).await?;
        let pods =
            [town.mesh_worker(1, 1, "app: gateway").await?, town.mesh_worker(2, 1, "app: worker").await?];
        let gateway = Proxy::start(&pods[0].netns, Settings { strict: true, ..Settings::default() })?;
        let worker = Proxy::start(&pods[1].netns, worker_settings())?;
        let targets = api(&town.client, &(target::DEFINITION.resource)());
        for (name, port) in [("rtp", 19_000), ("rtcp", 19_001)] {
            let header = json!([{"path": {"from": "/labels", "to": "/labels"}}]);
            let spec = json!({"JSONSocket": {"transport": {"UDP": {"port": port}}, "header": header}});
            let cluster = json!({
                "spec": spec,
                "loadbalancer": {"policy": "ConsistentHash", "key": "/labels/callid"},
                "endpoints": [{"selector": {"matchLabels": {"app": "worker"}}}],
            });
            let spec = json!({"selector": {"matchLabels": {"app": "gateway"}}, "cluster": cluster});
            let target = object(&(target::DEFINITION.resource)(), name, spec)?;
            targets.create(&PostParams::default(), &target).await?;
        }
        let services = api(&town.client, &(virtual_service::DEFINITION.resource)());
        let rules = api(&town.client, &(rule::DEFINITION.resource)());
        Ok(Self { town, gateway, worker, _pods: pods, services, rules })
    }

    fn writer(&self) -> Writer {
        Writer { services: self.services.clone(), rules: self.rules.clone() }
    }

    async fn create(&self, number: u16) -> Result<()> {
        self.writer().create(number).await
    }

    async fn delete(&self, number: u16) -> Result<()> {
        self.writer().delete(number).await
    }

    /// Kills a part, and starts it again after a pause.
    async fn kill(&mut self, part: Part, pause: Duration) -> Result<()> {
        match part {
            Part::Gateway | Part::Worker => {}
            Part::ApiServer => self.town.control.kill(),
            Part::Hub => self.town.hub.take().context("no hub")?.kill(),
            Part::Agent(index) => self.town.nodes[index].agent.take().context("no agent")?.kill(),
        }
        tokio::time::sleep(pause).await;
        match part {
            Part::Gateway => self.gateway.restart(),
            Part::Worker => self.worker.restart(),
            Part::ApiServer => self.town.control.revive().await,
            Part::Hub => self.town.start_hub(),
            Part::Agent(index) => self.town.start_agent(index),
        }
    }

    /// Waits until the proxies have exactly the listeners and rules of the stored objects.
    async fn settled(&self) -> Result<()> {
        let pairs = [
            (&self.services, &self.gateway, "listeners", "portreeve/B/VirtualService/default/"),
            (&self.rules, &self.worker, "rules", "portreeve/B/Rule/default/"),
        ];
        for (api, proxy, kind, start) in pairs {
            let same = || async {
                let (Ok(stored), Ok(found)) =
                    (api.list(&ListParams::default()).await, proxy.names(kind).await)
                else {
                    return false;
                };
                let stored: BTreeSet<String> = stored.items.iter().map(|one| one.name_any()).collect();
                let found = found.iter().filter_map(|name| name.strip_prefix(start)?.split('/').next());
                let found: Vec<String> = found.map(str::to_owned).collect();
                found.len() == stored.len() && found.into_iter().collect::<BTreeSet<_>>() == stored
            };
            wait::until(&format!("the {kind} of the stored objects"), LONG, same).await?;
        }
        self.programmed().await
    }

    /// Waits until the gateway has this number of listeners, and the worker of rules, beside its own.
    async fn count(&self, wanted: usize) -> Result<()> {
        wait::until(&format!("{wanted} listeners and rules"), LONG, || async {
            let listeners = self.gateway.names("listeners").await.unwrap_or_default();
            let rules = self.worker.names("rules").await.unwrap_or_default();
            let ours = |names: &[String]| names.iter().filter(|name| name.starts_with("portreeve/")).count();
            (ours(&listeners), ours(&rules)) == (wanted, wanted)
        })
        .await
    }

    /// Returns whether no proxy has an object of this kind that was made for a call.
    async fn is_free_of_calls(&self, kind: &str) -> Result<bool> {
        let mut names = self.gateway.names(kind).await?;
        names.extend(self.worker.names(kind).await?);
        let starts = ["portreeve/B/VirtualService/", "portreeve/B/Rule/"];
        Ok(!names.iter().any(|name| starts.iter().any(|start| name.starts_with(start))))
    }

    /// Waits until every object says that it is programmed.
    async fn programmed(&self) -> Result<()> {
        for api in [&self.services, &self.rules] {
            wait::until("every object to be programmed", LONG, || async {
                let all = api.list(&ListParams::default()).await;
                all.is_ok_and(|all| all.items.iter().all(is_programmed))
            })
            .await?;
        }
        Ok(())
    }
}

fn is_programmed(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Programmed" && one["status"] == "True"))
}

/// Returns the number in an environment variable, or the default.
fn number<N: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    name: &str,
    default: N,
) -> Result<N> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}: {text}")),
        Err(_) => Ok(default),
    }
}

/// Runs all writers concurrently. Each handles its own calls one after the other.
async fn write<F: Future<Output = Result<()>>>(calls: u16, work: impl Fn(u16) -> F) -> Result<Duration> {
    let (begun, work) = (Instant::now(), &work);
    let writer = |first: u16| async move {
        for number in (first..calls).step_by(usize::from(WRITERS)) {
            work(number).await.with_context(|| format!("call {number}"))?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..WRITERS).map(writer)).await?;
    Ok(begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_programmed_and_nothing_is_left_of_them() -> Result<()> {
    let mut stage = Stage::start().await?;
    let calls = number(CALLS_VARIABLE, CALLS)?;
    let processes = [stage.gateway.process().pid(), stage.worker.process().pid()];
    let wanted = usize::from(calls) * SIDES.len();
    println!("{calls} calls created in {:.1?}", write(calls, |number| stage.create(number)).await?);
    let begun = Instant::now();
    stage.count(wanted).await?;
    println!("last create to {wanted} listeners and rules: {:.2?}", begun.elapsed());
    stage.programmed().await?;
    println!("last create to programmed: {:.2?}", begun.elapsed());

    println!("{calls} calls deleted in {:.1?}", write(calls, |number| stage.delete(number)).await?);
    let begun = Instant::now();
    stage.count(0).await?;
    println!("last delete to no listener and rule: {:.2?}", begun.elapsed());
    for kind in ["listeners", "rulelists", "rules", "routes"] {
        let gone = || async { stage.is_free_of_calls(kind).await.unwrap_or_default() };
        wait::until(&format!("no {kind} of calls"), BOUND, gone).await?;
    }
    let now = [stage.gateway.process().pid(), stage.worker.process().pid()];
    ensure!(now == processes, "{now:?}, before {processes:?}");
    ensure!(stage.gateway.process().is_running() && stage.worker.process().is_running());
    Ok(())
}

impl Stage {
    /// Returns when the proxies got the objects of calls first, by kind and name: the times in their logs.
    fn seen(&mut self) -> BTreeMap<String, Timestamp> {
        let mut seen = BTreeMap::new();
        for log in [self.gateway.process().log(), self.worker.process().log()] {
            for line in log.lines() {
                let time = line.split(' ').next().and_then(|time| time.parse::<Timestamp>().ok());
                let named = line.split("'portreeve/B/").nth(1).unwrap_or_default();
                let [kind, "default", name, ..] = named.split('/').collect::<Vec<_>>()[..] else { continue };
                if let Some(time) = time.filter(|_| line.contains(" info L7mp.add")) {
                    seen.entry(format!("{kind}/{name}")).or_insert(time);
                }
            }
        }
        seen
    }
}

/// The times of an object.
struct Life {
    /// When its creation was requested.
    begun: Timestamp,
    /// When the API server confirmed that.
    created: Option<Timestamp>,
    /// When its status said that it is programmed.
    programmed: Option<Timestamp>,
}

/// The times of objects by kind and name.
type Times = Arc<Mutex<BTreeMap<String, Life>>>;

/// Creates a call, and notes the time of each request.
async fn timed(writer: Writer, times: Times, number: u16) -> Result<()> {
    for at in 0..SIDES.len() {
        let [service, rule] = side(number, at)?;
        for (kind, api, object) in
            [("VirtualService", &writer.services, &service), ("Rule", &writer.rules, &rule)]
        {
            let key = format!("{kind}/{}", object.name_any());
            let life = Life { begun: Timestamp::now(), created: None, programmed: None };
            times.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), life);
            api.create(&PostParams::default(), object).await?;
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            times.get_mut(&key).into_iter().for_each(|life| life.created = Some(Timestamp::now()));
        }
    }
    Ok(())
}

fn follow(api: &Api<DynamicObject>, kind: &'static str, times: &Times, tasks: &mut JoinSet<()>) {
    let (api, times) = (api.clone(), times.clone());
    tasks.spawn(async move {
        let mut objects = std::pin::pin!(watcher(api, watcher::Config::default()).applied_objects());
        while let Some(object) = objects.next().await {
            let Some(object) = object.ok().filter(is_programmed) else { continue };
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(life) = times.get_mut(&format!("{kind}/{}", object.name_any())) {
                life.programmed.get_or_insert_with(Timestamp::now);
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_20_calls_a_second_are_programmed_at_once() -> Result<()> {
    let mut stage = Stage::start().await?;
    let calls = RATE * SECONDS;
    // A proxy that starts takes a processor for seconds: a call before the others waits for that.
    stage.create(calls).await?;
    stage.settled().await?;
    stage.delete(calls).await?;
    stage.settled().await?;
    let (times, mut tasks) = (Times::default(), JoinSet::new());
    follow(&stage.services, "VirtualService", &times, &mut tasks);
    follow(&stage.rules, "Rule", &times, &mut tasks);
    let (mut tick, mut writers) =
        (tokio::time::interval(Duration::from_secs(1) / u32::from(RATE)), JoinSet::new());
    for number in 0..calls {
        tick.tick().await;
        writers.spawn(timed(stage.writer(), times.clone(), number));
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    let all = || {
        times.lock().unwrap_or_else(PoisonError::into_inner).values().all(|life| life.programmed.is_some())
    };
    wait::until("every object to be programmed", LONG, || async { all() }).await?;
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    let count = usize::from(calls) * 2 * SIDES.len();
    println!("{count} objects of {calls} calls at {RATE} calls a second, from the request to the API server");
    let seen = stage.seen();
    let took = |end: &dyn Fn(&String, &Life) -> Option<Timestamp>| {
        times.iter().filter_map(|(key, life)| Some(end(key, life)?.duration_since(life.begun))).collect()
    };
    told("to its answer", took(&|_, life| life.created), count)?;
    told("to the proxy's log", took(&|key, _| seen.get(key).copied()), count)?;
    told("to the status Programmed", took(&|_, life| life.programmed), count)
}

/// Prints times, and checks their number.
fn told(what: &str, mut took: Vec<SignedDuration>, count: usize) -> Result<()> {
    ensure!(took.len() == count, "{} objects {what}", took.len());
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_millis();
    println!("{what}: median {} ms, 99 of 100 {} ms, at most {} ms", at(50), at(99), at(100));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_moments_end_in_the_desired_state() -> Result<()> {
    let (mut stage, kills) = (Stage::start().await?, number(KILLS_VARIABLE, KILLS)?);
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (stop, stopped) = watch::channel(false);
    let mut writers = JoinSet::new();
    writers.spawn(stage.writer().churn(stopped));
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
        let (part, pause) = (PARTS[random.random_range(0..PARTS.len())], random.random_range(0..500));
        println!("{part:?}, for {pause} ms");
        stage.kill(part, Duration::from_millis(pause)).await.with_context(|| format!("{part:?}"))?;
    }
    stop.send_replace(true);
    while let Some(done) = writers.join_next().await {
        done?;
    }
    let begun = Instant::now();
    stage.settled().await?;
    let left = stage.services.list(&ListParams::default()).await?.items.len();
    println!("{kills} kills; {left} VirtualServices settled {:.1?} after the last", begun.elapsed());
    ensure!(left >= usize::from(STANDING), "{left} VirtualServices");
    Ok(())
}
