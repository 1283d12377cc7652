//! A gateway's Envoy is hot-restarted under traffic: with another bootstrap, another binary, a memory limit, and a
//! bootstrap with which it doesn't start. New sessions work at all times, and only Envoy's own losses occur.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Api;
use portreeve_api::own::node_report::{NodeReport, Phase, ProxyReport};
use portreeve_tests::hand_over::{AROUND, Fate, Stage as Common};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{under_test, wait};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How often a trial may be repeated because the kernel dropped datagrams at sockets whose process got no processor
/// time.
const REPEATS: usize = 3;
/// How long the old Envoy serves in parallel with the new one: at least one second of drain, plus one.
const OVERLAP: Duration = Duration::from_secs(2);

/// The cause of a hot restart.
#[derive(Clone, Debug)]
enum Change {
    /// The NodeProxy's field `envoy` is set to this.
    Settings(String),
    /// The agent is restarted with this Envoy.
    Binary(PathBuf),
    /// The agent is restarted from another build: this copy of it.
    Agent(PathBuf),
}

fn gateway(envoy: &str) -> String {
    format!(
        "apiVersion: portreeve.dev/v1alpha1\nkind: NodeProxy\nmetadata: {{name: gateway}}\nspec:\n  \
         nodeSelector: {{role: gateway}}\n  labels: {{app: envoy-ingress}}\n  envoy: {{{envoy}}}\n"
    )
}

/// Limits the concurrent tests, each of which has its own traffic: more would make each other's trials void.
static CONCURRENT: Semaphore = Semaphore::const_new(3);

/// A gateway under its agent's keeper.
struct Stage {
    common: Common,
    /// Released after the processes have ended.
    _permit: SemaphorePermit<'static>,
}

// === impl Stage ===

impl Deref for Stage {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl Stage {
    async fn new() -> Result<Self> {
        let _permit = CONCURRENT.acquire().await?;
        let town = Town::start(1).await?;
        town.gateways().await?;
        let made = Self { common: Common::new(town).await?, _permit };
        made.is_served().await?;
        Ok(made)
    }

    async fn is_served(&self) -> Result<()> {
        self.serves(&self.town.nodes[0].gateway()).await
    }

    async fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Settings(envoy) => self.town.apply(&gateway(envoy)).await,
            Change::Binary(envoy) => {
                self.town.set_envoy(envoy.clone());
                self.town.nodes[0].agent.take().context("no agent")?.kill();
                self.town.start_agent(0)
            }
            Change::Agent(program) => {
                self.town.nodes[0].agent.take().context("no agent")?.kill();
                self.town.start_agent_from(0, program)
            }
        }
    }

    /// Returns the pids of the gateway's Envoys.
    fn envoys(&self) -> Vec<u32> {
        self.town.descendants_with("gateway/bootstrap.json")
    }

    /// Returns the pids of the gateway's keepers.
    fn keepers(&self) -> Vec<u32> {
        let (mut found, envoys) = (self.town.descendants_with("keepers/gateway"), self.envoys());
        found.retain(|pid| !envoys.contains(pid));
        found
    }

    /// Waits until the report meets the condition `wanted`.
    async fn reported(&self, what: &str, wanted: impl Fn(&ProxyReport) -> bool) -> Result<ProxyReport> {
        let reports = Api::<NodeReport>::all(self.town.client.clone());
        wait::seen(reports, wait::named("n1"), (what, BOUND), |report| {
            let mut proxies = report.status.iter().flat_map(|status| &status.proxies);
            proxies.find(|proxy| proxy.name == "gateway").filter(|proxy| wanted(proxy)).cloned()
        })
        .await
    }

    async fn epoch(&self) -> Result<u64> {
        self.town.nodes[0].gateway().stat("server.hot_restart_epoch").await
    }

    /// Makes one hot restart under traffic.
    async fn restart(&mut self, change: &Change) -> Result<Fate> {
        let (before, epoch) = (self.envoys(), self.epoch().await?);
        let restarts = self.reported("the gateway", |report| report.restarts.is_some()).await?.restarts;
        ensure!(before.len() == 1, "{before:?}");
        let traffic = self.traffic()?;
        self.lasting(AROUND).await?;
        self.apply(change).await?;
        wait::until("an heir", BOUND, || async { self.envoys().len() == 2 }).await?;
        let both = Instant::now();
        wait::until("one Envoy", BOUND, || async {
            let now = self.envoys();
            now.len() == 1 && now != before
        })
        .await?;
        let overlap = both.elapsed();
        self.lasting(AROUND).await?;
        let fate = self.end(traffic)?;
        let (now, pid) = (self.epoch().await?, self.envoys());
        println!("{change:?}: epoch {epoch} to {now}, two Envoys for {overlap:.2?}");
        ensure!(now == epoch + 1, "epoch {epoch} before, {now} after");
        ensure!(overlap >= OVERLAP && overlap < 5 * OVERLAP, "two Envoys for {overlap:?}");
        let shown = |report: &ProxyReport| report.epoch == i32::try_from(now).ok();
        let report = self.reported("the new epoch in the report", shown).await?;
        let wanted = (Phase::Running, pid.first().map(|pid| *pid as i32), restarts);
        ensure!((report.phase, report.pid, report.restarts) == wanted, "{report:?}, Envoy is {pid:?}");
        Ok(fate)
    }

    /// Makes one hot restart, and repeats it with another change of the same kind if the kernel dropped datagrams. A
    /// bug of the product would show every time.
    async fn trial(&mut self, changes: impl Fn(usize) -> Change) -> Result<()> {
        for number in 0..=REPEATS {
            let fate = self.restart(&changes(number)).await?;
            if fate.drops == 0 {
                return fate.is_good(1);
            }
            println!("void: {} dropped by the kernel", fate.drops);
        }
        anyhow::bail!("the kernel dropped datagrams in {} trials in a row", REPEATS + 1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bootstrap_binary_and_limit_restart_the_gateway_hot() -> Result<()> {
    let mut stage = Stage::new().await?;
    let flushed = |seconds| format!("extraBootstrap: {{stats_flush_interval: {seconds}s}}");
    stage.trial(|number| Change::Settings(flushed(10 + number))).await?;
    let dump = stage.town.nodes[0].gateway().config_dump().await?;
    let bootstrap = &dump["configs"][0]["bootstrap"];
    ensure!(
        bootstrap["stats_flush_interval"].as_str().is_some_and(|text| text.starts_with('1')),
        "{bootstrap}"
    );

    let (original, dir) = (stage.town.envoy().to_owned(), stage.town.dir().to_owned());
    let copies: Vec<PathBuf> = (0..=REPEATS).map(|number| dir.join(format!("envoy-{number}"))).collect();
    copies.iter().try_for_each(|copy| {
        std::fs::hard_link(&original, copy).or_else(|_| std::fs::copy(&original, copy).map(drop))
    })?;
    stage.trial(|number| Change::Binary(copies[number].clone())).await?;

    stage.trial(|number| Change::Settings(format!("memoryLimit: {}Mi", 512 + number))).await?;
    let limit =
        stage.town.nodes[0].gateway().config_dump().await?["configs"][0]["bootstrap"]["overload_manager"]
            .to_string();
    ensure!(limit.contains("fixed_heap"), "{limit}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keeper_becomes_the_new_agents_build_and_its_envoy_goes_on_and_can_still_be_restarted_hot()
-> Result<()> {
    let mut stage = Stage::new().await?;
    let (before, keepers) = (stage.envoys(), stage.keepers());
    ensure!(keepers.len() == 1, "{keepers:?}");
    for number in 0..=REPEATS {
        let directory = stage.town.dir().join(format!("build-{number}"));
        std::fs::create_dir(&directory)?;
        let copy = directory.join("portreeve-agent");
        std::fs::copy(under_test::binary()?, &copy)?;
        let traffic = stage.traffic()?;
        stage.lasting(AROUND).await?;
        stage.apply(&Change::Agent(copy.clone())).await?;
        let exe = PathBuf::from(format!("/proc/{}/exe", keepers[0]));
        let is_other = || async { std::fs::read_link(&exe).is_ok_and(|program| program == copy) };
        wait::until("another keeper in the same process", BOUND, is_other).await?;
        stage.town.nodes[0].agent.as_mut().context("no agent")?.wait_log("proxy connected", BOUND)?;
        stage.lasting(AROUND).await?;
        let fate = stage.end(traffic)?;
        ensure!(
            (stage.envoys(), stage.keepers()) == (before.clone(), keepers.clone()),
            "{:?}",
            stage.envoys()
        );
        if fate.drops == 0 {
            fate.is_good(0)?;
            break;
        }
        ensure!(number < REPEATS, "the kernel dropped datagrams in {} trials in a row", REPEATS + 1);
    }
    stage.trial(|number| Change::Settings(format!("memoryLimit: {}Mi", 512 + number))).await?;
    ensure!(stage.keepers() == keepers, "{:?}", stage.keepers());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_hand_over_too_and_another_number_of_them_is_a_plain_restart() -> Result<()> {
    let mut stage = Stage::new().await?;
    let before = stage.envoys();
    stage.apply(&Change::Settings("concurrency: 2".into())).await?;
    wait::until("another Envoy", BOUND, || async { stage.envoys().len() == 1 && stage.envoys() != before })
        .await?;
    stage.is_served().await?;
    ensure!(stage.epoch().await? == 0, "hot with another number of workers");
    let report = stage.reported("the restart", |report| report.restarts == Some(1)).await?;
    ensure!(report.epoch == Some(0), "{report:?}");
    let limited = |number| format!("concurrency: 2, memoryLimit: {}Mi", 512 + number);
    stage.trial(|number| Change::Settings(limited(number))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_with_which_envoy_does_not_start_costs_nothing_and_is_told_of() -> Result<()> {
    let mut stage = Stage::new().await?;
    let before = stage.envoys();
    for number in 0..=REPEATS {
        let traffic = stage.traffic()?;
        stage.lasting(AROUND).await?;
        let broken = format!("extraBootstrap: {{nonsense{number}: 1}}");
        stage.apply(&Change::Settings(broken)).await?;
        let name = format!("no such field: 'nonsense{number}'");
        let told = |report: &ProxyReport| {
            report.last_exit.as_ref().is_some_and(|text| text.contains(&name) && text.ends_with("serves on"))
        };
        let report = stage.reported("words of the heir", told).await?;
        println!("{report:?}");
        ensure!(
            (report.phase, report.epoch, report.restarts) == (Phase::Running, Some(0), Some(0)),
            "{report:?}"
        );
        // Several attempts to start.
        stage.lasting(3 * AROUND).await?;
        let fate = stage.end(traffic)?;
        ensure!(stage.envoys().contains(&before[0]), "another Envoy than {before:?}: {:?}", stage.envoys());
        if fate.drops == 0 {
            fate.is_good(0)?;
            break;
        }
        ensure!(number < REPEATS, "the kernel dropped datagrams in {} trials in a row", REPEATS + 1);
    }
    // A repaired bootstrap is used immediately.
    stage.apply(&Change::Settings("extraBootstrap: {stats_flush_interval: 10s}".into())).await?;
    stage.reported("the first epoch", |report| report.epoch == Some(1)).await?;
    ensure!(stage.envoys().len() == 1 && stage.envoys() != before, "{:?}", stage.envoys());
    stage.is_served().await
}
