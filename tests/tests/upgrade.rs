//! The agent is killed and restarted, upgraded and downgraded under traffic through a gateway and a sidecar: nothing is
//! lost, and no session is renewed. In half of the trials the new agent finds neither hub nor API server.
//!
//! The agent before an upgrade is `PORTREEVE_BEFORE` in the environment, the `portreeve-agent` of an older commit
//! (tests/README.md says how to build it), or the present one. The agent after an upgrade is the present one with other
//! defaults.
//!
//! A trial is over when the new agent works: both proxies are connected to it, and they apply a verdict of its own
//! probes, which depends on no other process.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::envoy::Admin;
use portreeve_tests::health_port::HealthPort;
use portreeve_tests::netns::Netns;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::{Echo, Flow, Report, Running};
use portreeve_tests::wait;

/// Number of trials of each kind.
const TRIALS: usize = 20;
/// How often a trial may be repeated because the kernel dropped datagrams at sockets whose process got no processor
/// time.
const REPEATS: usize = 3;
/// Datagrams per second through each listener.
const RATE: u32 = 1000;
/// Sessions of each listener.
const SOCKETS: u32 = 10;
/// The pods' port.
const PORT: u16 = 5000;
/// The canary's health port.
const HEALTH: u16 = 1233;
/// Labels of the proxies of the gateways' VirtualServices.
const GATEWAYS: &str = "app: envoy-ingress";
/// Envoy's counters of changed and removed listeners and clusters.
const MODIFIED: [&str; 4] = [
    "listener_manager.listener_modified",
    "listener_manager.listener_removed",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_removed",
];

/// The build of an agent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Build {
    /// The one before an upgrade.
    Before,
    /// The present one, with another default.
    Now,
}

/// How hub and API server are unavailable. The hub is killed in any case.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// The API server is killed.
    Killed,
    /// The API server is stopped: it accepts connections, but never answers.
    Stopped,
}

/// The agent before an upgrade: `PORTREEVE_BEFORE`, or `None` for the present one.
struct Before(Option<PathBuf>);

/// One death of the agent.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// The next agent is of the other build.
    other: bool,
    away: Option<Away>,
}

/// A completed trial.
struct Done {
    title: String,
    /// Time from the start of the new agent until it works.
    took: Duration,
    until: Instant,
    /// Drops of the kernel. If there are any, the trial is void.
    drops: Drops,
    sent: usize,
    lost: usize,
}

/// Datagrams that the kernel dropped since the sockets were created, because their process got no processor time and
/// their buffers overflowed (an Envoy's hold a quarter of a second).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Drops {
    /// At sockets of the test.
    own: u64,
    /// At sockets of the proxies.
    proxies: u64,
}

/// A flow through one listener.
struct Traffic {
    title: &'static str,
    started: Instant,
    running: Running,
}

/// The town and its pods.
struct Stage {
    town: Town,
    side: Worker,
    workers: Vec<Worker>,
    echoes: Vec<Echo>,
    /// A pod whose health the agent probes for both proxies. It gets no traffic.
    canary: Worker,
    health: Option<HealthPort>,
    before: Before,
    /// The current agent's build.
    build: Build,
    /// [`MODIFIED`] of both proxies before the first trial.
    modified: Vec<BTreeMap<&'static str, u64>>,
    /// [`MODIFIED`] of both proxies after the last trial.
    drops: Drops,
    done: Vec<Done>,
}

// === impl Build ===

impl Build {
    fn other(self) -> Self {
        if self == Self::Before { Self::Now } else { Self::Before }
    }
}

// === impl Before ===

impl Before {
    fn from_environment() -> Result<Self> {
        let Some(given) = std::env::var_os("PORTREEVE_BEFORE") else {
            println!("before an upgrade: the present agent, with other defaults than after it");
            return Ok(Self(None));
        };
        let given = PathBuf::from(given);
        let program =
            given.canonicalize().with_context(|| format!("PORTREEVE_BEFORE={}", given.display()))?;
        println!("before an upgrade: {}", program.display());
        Ok(Self(Some(program)))
    }

    fn start(&self, town: &mut Town) -> Result<()> {
        match &self.0 {
            Some(program) => town.start_agent_from(0, program),
            None => town.start_agent(0),
        }
    }
}

// === impl Trial ===

impl Trial {
    /// Returns all trials: first the restarts, then the upgrades and downgrades in turn.
    fn all() -> Vec<Self> {
        let away = |i: usize| match i % 4 {
            1 => Some(Away::Killed),
            2 => Some(Away::Stopped),
            _ => None,
        };
        let restarts = (0..TRIALS).map(|i| Self { other: false, away: away(i) });
        // An upgrade and the downgrade that follows it are of the same kind.
        restarts.chain((0..TRIALS).map(|i| Self { other: true, away: away(i / 2) })).collect()
    }
}

// === impl Drops ===

impl Drops {
    fn sum(self) -> u64 {
        self.own + self.proxies
    }

    /// Returns the drops after `earlier`.
    fn since(self, earlier: Self) -> Self {
        let own = self.own.saturating_sub(earlier.own);
        Self { own, proxies: self.proxies.saturating_sub(earlier.proxies) }
    }
}

// === impl Done ===

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, took, drops: Drops { own, proxies }, sent, lost, .. } = self;
        write!(f, "{title}: {lost} of {sent} lost, ")?;
        write!(f, "dropped by the kernel: {own} at the test's sockets, {proxies} at the proxies', ")?;
        write!(f, "in force after {took:.2?}")
    }
}

// === impl Stage ===

impl Stage {
    /// Creates a gateway, a sidecar and their pods, and waits until everything serves.
    async fn new() -> Result<Self> {
        let before = Before::from_environment()?;
        let mut town = Town::without_portreeve(1).await?;
        town.start_hub()?;
        before.start(&mut town)?;
        town.gateways().await?;
        let (workers, echoes) = town.answering_workers(1, 2, PORT).await?;
        let side = town.worker(1, 3, "app: side", true).await?;
        let canary = town.worker(1, 4, "app: canary", false).await?;
        let (modified, drops, done) = (Vec::new(), Drops::default(), Vec::new());
        let (health, build) = (None, Build::Before);
        let mut made =
            Self { town, side, workers, echoes, canary, health, before, build, modified, drops, done };
        made.open_health()?;
        made.town.apply(&objects()).await?;
        listeners(&made.town.nodes[0].gateway(), &["keyed", "spread", "canary"], BOUND).await?;
        listeners(&made.side.admin, &["side", "canary"], BOUND).await?;
        made.canary_is(true).await?;
        made.modified = made.count_modified().await?;
        Ok(made)
    }

    /// Starts traffic through the gateway's two listeners and the sidecar's.
    fn traffic(&self) -> Result<Vec<Traffic>> {
        let (gateway, side) = (self.town.nodes[0].address(), self.side.ip());
        let targets = [("keyed", gateway, 4000), ("spread", gateway, 4001), ("side", side, 4100)];
        let start = |(title, ip, port)| {
            let flow = Flow::to(SocketAddr::new(ip, port)).sockets(SOCKETS).rate(RATE);
            let running = flow.lasting(Duration::from_secs(3600)).start(self.town.bed.root())?;
            Ok(Traffic { title, started: Instant::now(), running })
        };
        targets.into_iter().map(start).collect()
    }

    /// Runs one trial, and repeats it if the kernel dropped datagrams. A bug of the product would show every time.
    async fn trial(&mut self, number: usize, trial: Trial) -> Result<()> {
        for _ in 0..=REPEATS {
            let took = self.attempt(trial).await.with_context(|| format!("trial {number}, {trial:?}"))?;
            let (until, now) = (Instant::now(), self.count_drops()?);
            let drops = now.since(std::mem::replace(&mut self.drops, now));
            let title = format!("{number:2} {trial:?} {:?}", self.build);
            self.done.push(Done { title, took, until, drops, sent: 0, lost: 0 });
            if drops.sum() == 0 {
                return Ok(());
            }
            println!("void: {drops:?}");
        }
        anyhow::bail!("the kernel dropped datagrams in {} trials in a row", REPEATS + 1)
    }

    /// Returns the time until the new agent works.
    async fn attempt(&mut self, trial: Trial) -> Result<Duration> {
        if let Some(away) = trial.away {
            self.leave(away)?;
        }
        self.town.nodes[0].agent.take().context("no agent")?.kill();
        let start = Instant::now();
        if trial.other {
            self.build = self.build.other();
        }
        match self.build {
            Build::Before => self.before.start(&mut self.town)?,
            Build::Now => self.town.start_changed_agent(0)?,
        }
        self.in_force().await?;
        let took = start.elapsed();
        self.keeper_follows().await?;
        if let Some(away) = trial.away {
            ensure!(!self.log().contains("connected=true"), "there is a hub:\n{}", self.log());
            self.come_back(away).await?;
        }
        let agent = self.town.nodes[0].agent.as_mut().context("no agent")?;
        agent.wait_log("connected=true", BOUND)?;
        let now = self.count_modified().await?;
        ensure!(now == self.modified, "before all trials {:?}, now {now:?}", self.modified);
        Ok(took)
    }

    /// Makes hub and API server unavailable.
    fn leave(&mut self, away: Away) -> Result<()> {
        self.town.hub.take().context("no hub")?.kill();
        match away {
            Away::Killed => self.town.control.kill(),
            Away::Stopped => self.town.control.apiserver().context("no API server")?.stop()?,
        }
        Ok(())
    }

    async fn come_back(&mut self, away: Away) -> Result<()> {
        match away {
            Away::Killed => self.town.control.revive().await?,
            Away::Stopped => self.town.control.apiserver().context("no API server")?.cont()?,
        }
        self.town.start_hub()
    }

    /// Waits until both proxies are connected to the new agent, and until each shows the new agent's verdicts: first
    /// that the canary is unhealthy, then that it is healthy.
    async fn in_force(&mut self) -> Result<()> {
        wait::until("both proxies", BOUND, || async { self.log().matches("proxy connected").count() >= 2 })
            .await?;
        self.health = None;
        self.canary_is(false).await?;
        self.open_health()?;
        self.canary_is(true).await
    }

    /// Waits until the gateway's keeper runs the agent's program.
    async fn keeper_follows(&self) -> Result<()> {
        let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe"));
        let agent = self.town.nodes[0].agent.as_ref().context("no agent")?;
        let wanted = program(agent.pid())?;
        wait::until("a keeper of the agent's build", BOUND, || async {
            let mut keepers = self.town.descendants_with("keepers/gateway");
            keepers.retain(|pid| !self.town.descendants_with("gateway/bootstrap.json").contains(pid));
            matches!(keepers[..], [keeper] if program(keeper).is_ok_and(|found| found == wanted))
        })
        .await
    }

    fn open_health(&mut self) -> Result<()> {
        let address = SocketAddr::new(self.canary.ip(), HEALTH);
        self.health = Some(HealthPort::open(&self.canary.netns, address)?);
        Ok(())
    }

    async fn canary_is(&self, healthy: bool) -> Result<()> {
        for (name, admin) in self.proxies() {
            wait::until(&format!("a canary with healthy={healthy} at the {name}"), BOUND, || async {
                admin.clusters().await.is_ok_and(|text| health_of_canary(&text) == Some(healthy))
            })
            .await?;
        }
        Ok(())
    }

    fn proxies(&self) -> [(&'static str, Admin); 2] {
        [("gateway", self.town.nodes[0].gateway()), ("sidecar", self.side.admin.clone())]
    }

    async fn count_modified(&self) -> Result<Vec<BTreeMap<&'static str, u64>>> {
        let mut counted = Vec::new();
        for (_, admin) in self.proxies() {
            let stats = admin.stats().await?;
            counted.push(MODIFIED.map(|name| (name, stats.get(name).copied().unwrap_or_default())).into());
        }
        Ok(counted)
    }

    fn log(&self) -> String {
        self.town.nodes[0].agent.as_ref().map(|agent| agent.log()).unwrap_or_default()
    }

    fn count_drops(&self) -> Result<Drops> {
        let sum = |namespaces: &[&Netns]| namespaces.iter().map(|namespace| namespace.udp_drops()).sum();
        let [one, two] = [0, 1].map(|i: usize| &self.workers[i].netns);
        let own: Result<u64> = sum(&[self.town.bed.root(), one, two]);
        let proxies: Result<u64> = sum(&[&self.town.nodes[0].netns, &self.side.netns]);
        Ok(Drops { own: own?, proxies: proxies? })
    }

    /// Assigns a flow's lost datagrams to the trials in which they were sent. Those after the last trial are ignored.
    fn book(&mut self, started: Instant, report: &Report) {
        for datagram in report.lines.iter().flat_map(|line| &line.datagrams) {
            let at = self.done.partition_point(|done| done.until < started + datagram.sent);
            if let Some(done) = self.done.get_mut(at) {
                done.sent += 1;
                done.lost += usize::from(datagram.answer.is_none());
            }
        }
    }

    /// An object that is created while the changed agent runs shows that it translates the same object differently, and
    /// that it leaves existing listeners unchanged.
    async fn other_build(&self) -> Result<()> {
        let gateway = self.town.nodes[0].gateway();
        self.town.apply(&virtual_service("later", GATEWAYS, &[Pipe::new("later", 4003, PORT)])).await?;
        listeners(&gateway, &["keyed", "spread", "canary", "later"], BOUND).await?;
        let dump = gateway.config_dump().await?;
        let (later, spread) = (idle(&dump, "later"), idle(&dump, "spread"));
        ensure!((later, spread) == (Some("90s"), Some("60s")), "later: {later:?}, spread: {spread:?}");
        // If the agent is killed before an accepted resource is on disk, its successor must create the resource again.
        let state = self.town.state_dir(0);
        wait::until("the new listener on the disk", BOUND, || async { is_kept(&state, "/later") }).await
    }
}

/// Returns whether a proxy's stored resources include one with this suffix of its name.
fn is_kept(state: &Path, name: &str) -> bool {
    let files = fs::read_dir(state).into_iter().flatten().flatten();
    let mut accepted = files.filter(|file| file.file_name().to_string_lossy().starts_with("accepted-"));
    accepted.any(|file| {
        let bytes = fs::read(file.path()).unwrap_or_default();
        bytes.windows(name.len()).any(|part| part == name.as_bytes())
    })
}

/// The VirtualServices of both proxies.
fn objects() -> String {
    let canary = |port| Pipe::new("canary", port, PORT).to_pods("app: canary").checked(HEALTH);
    let (keyed, spread) = (Pipe::new("keyed", 4000, PORT).keyed("call"), Pipe::new("spread", 4001, PORT));
    let gateways = virtual_service("gateways", GATEWAYS, &[keyed, spread, canary(4002)]);
    let side = virtual_service("side", "app: side", &[Pipe::new("side", 4100, PORT), canary(4102)]);
    format!("{gateways}---\n{side}")
}

/// Returns the canary's state in a proxy; `None` if the proxy doesn't have it.
fn health_of_canary(clusters: &str) -> Option<bool> {
    let line = clusters.lines().find(|line| line.contains("canary") && line.contains("::health_flags::"))?;
    Some(line.ends_with("::healthy"))
}

/// Returns the idle timeout of a listener, by the last part of its name.
fn idle<'a>(dump: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    let parts = dump["configs"].as_array()?.iter();
    let mut states = parts.filter_map(|part| part["dynamic_listeners"].as_array()).flatten();
    let ours = |state: &&serde_json::Value| {
        state["name"].as_str().is_some_and(|found| found.ends_with(&format!("/{name}")))
    };
    let listener = &states.find(ours)?["active_state"]["listener"];
    listener["listener_filters"][0]["typed_config"]["idle_timeout"].as_str()
}

/// Returns what is wrong with the completed trials, by name.
fn faults(done: &[Done]) -> Vec<String> {
    // In a void trial, only datagrams that the kernel dropped may be lost.
    let bad = |done: &&Done| done.lost as u64 > done.drops.sum() || done.sent == 0;
    done.iter().filter(bad).map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_restarted_and_upgraded_forty_times_loses_no_datagram_and_no_session() -> Result<()> {
    let mut stage = Stage::new().await?;
    let traffic = stage.traffic()?;
    let (begun, mut told_apart) = (Instant::now(), false);
    for (number, trial) in Trial::all().into_iter().enumerate() {
        stage.trial(number + 1, trial).await?;
        if stage.build == Build::Now && !told_apart {
            stage.other_build().await?;
            told_apart = true;
        }
    }
    let (lasted, mut faults_found) = (begun.elapsed(), Vec::new());
    for Traffic { title, started, running } in traffic {
        let report = running.stop()?;
        println!("{title}: {report}");
        stage.book(started, &report);
        let due = lasted.as_secs_f64() * f64::from(RATE);
        ensure!(report.sent() as f64 > 0.9 * due, "{title}: {} sent, {due:.0} were due", report.sent());
        let sessions = report.lines.iter().map(|line| (line.source, line.upstreams()));
        let anew = sessions.filter(|(_, upstreams)| upstreams.len() != 1);
        faults_found.extend(anew.map(|(source, from)| format!("{title}: {source} came from {from:?}")));
    }
    stage.done.iter().for_each(|done| println!("{done}"));
    faults_found.extend(faults(&stage.done));
    let void = stage.done.iter().filter(|done| done.drops.sum() > 0).count();
    let counted = stage.done.iter().filter(|done| done.drops.sum() == 0);
    let (sent, lost) = counted.fold((0, 0), |(sent, lost), d| (sent + d.sent, lost + d.lost));
    println!(
        "{} trials, {void} of them void, in {lasted:.0?}: {lost} of {sent} lost, modified {:?}, dropped by the kernel in \
         void trials: {:?}",
        stage.done.len(),
        stage.modified,
        stage.drops
    );
    println!("answered: {:?}", stage.echoes.iter().map(|echo| echo.seen().received).collect::<Vec<_>>());
    ensure!(void <= TRIALS / 2, "{void} trials are void: this machine has no time for the test");
    ensure!(told_apart, "the changed agent was never there");
    ensure!(stage.done.len() - void == 2 * TRIALS, "{} trials count", stage.done.len() - void);
    ensure!(faults_found.is_empty(), "{}", faults_found.join("\n"));
    Ok(())
}
