//! An EDS cluster with changed settings must become active in a real Envoy immediately. Envoy holds the cluster back
//! until an assignment arrives, doesn't subscribe again to assignments that it has, and continues without one after 15
//! s.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use portreeve_agent::envoy::locate;
use portreeve_keeper::envoy::{Bootstrap, Family};
use portreeve_tests::envoy::Admin;
use portreeve_tests::process::Process;
use portreeve_tests::stall::Witness;
use portreeve_tests::wait;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(40);
/// Number of measured changes of each kind.
const TRIALS: u64 = 20;
/// How soon a change must be active in the middle trial. Far above what was measured on a busy machine: 1.6 to 8 ms.
const PROMPT: Duration = Duration::from_millis(50);
/// How soon a change must be active in each trial, in addition to the machine's stalls ([`Witness`]). Far below the 15 s
/// of a cluster that is held back. A change passes through three processes, and each may stall: 110 ms was seen while
/// the witness saw 59 ms.
const LATEST: Duration = Duration::from_secs(1);
/// Number of served clusters.
const CLUSTERS: u64 = 3;
/// Their initial connect timeout in milliseconds. Each change adds one.
const TIMEOUT_MS: u64 = 1000;
/// The protocol variants, as named in a bootstrap.
const VARIANTS: [&str; 2] = ["DELTA_GRPC", "GRPC"];

/// An Envoy with its own xDS server.
struct Pair {
    dir: TempDir,
    server: Process,
    admin: Admin,
    _envoy: Process,
}

/// Envoy's counters of its clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clusters {
    /// Number of changes so far.
    modified: u64,
    /// Number of changed clusters that wait for an assignment.
    warming: u64,
}

// === impl Pair ===

impl Pair {
    /// Starts both, and waits until Envoy has all clusters.
    async fn start(variant: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("pr-").tempdir()?;
        let server = server(&dir, TIMEOUT_MS)?;
        let admin = dir.path().join("admin");
        let envoy = envoy(&dir, variant, admin.clone())?;
        let pair = Self { dir, server, admin: Admin::new(admin), _envoy: envoy };
        pair.admin.wait_ready(BOUND).await?;
        pair.active(0).await?;
        pair.acks().await?;
        Ok(pair)
    }

    /// Executes a command on the server, and waits for a server that is still starting.
    async fn tell(&self, line: &str) -> Result<String> {
        let path = self.dir.path().join("ctl");
        let stream = wait::eventually("the server's commands", BOUND, || async {
            UnixStream::connect(&path).await.ok()
        })
        .await?;
        let (read, mut write) = stream.into_split();
        write.write_all(format!("{line}\n").as_bytes()).await?;
        let answer = BufReader::new(read).lines().next_line().await?.context("no answer")?;
        ensure!(!answer.starts_with("error"), "{line}: {answer}");
        Ok(answer)
    }

    /// Returns the times of the clusters' ACKs since the last call, from the change or the stream's start.
    async fn acks(&self) -> Result<Vec<Duration>> {
        let answer = self.tell("cdsacks").await?;
        answer.split_whitespace().skip(1).map(|ns| Ok(Duration::from_nanos(ns.parse()?))).collect()
    }

    /// Like the previous method, but waits for at least one.
    async fn ack(&self) -> Result<Duration> {
        let all = wait::eventually("an ACK of clusters", BOUND, || async {
            self.acks().await.ok().filter(|acks| !acks.is_empty())
        });
        let all = all.await?;
        ensure!(all.len() == 1, "{} responses where one was due: {all:?}", all.len());
        Ok(all[0])
    }

    async fn clusters(&self) -> Result<Clusters> {
        let text =
            self.admin.get("/stats?filter=^cluster_manager.(cluster_modified|warming_clusters)$").await?;
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.with_context(|| format!("no {name} in {text}"))?.parse().context("no figure")
        };
        Ok(Clusters {
            modified: figure("cluster_manager.cluster_modified")?,
            warming: figure("cluster_manager.warming_clusters")?,
        })
    }

    /// Polls without a pause until this number of changes arrived and none is held back.
    async fn active(&self, modified: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            let now = self.clusters().await?;
            ensure!(now.modified <= modified, "{now:?}, but {modified} changes were made");
            if now == (Clusters { modified, warming: 0 }) {
                return Ok(());
            }
            ensure!(begun.elapsed() < BOUND, "{now:?} after {BOUND:?}, {modified} changes were made");
        }
    }

    /// Returns the connect timeouts of the active clusters, as Envoy prints them.
    async fn timeouts(&self) -> Result<Vec<String>> {
        let dump = self.admin.config_dump().await?;
        let parts = dump["configs"].as_array().into_iter().flatten();
        let active = parts.filter_map(|part| part["dynamic_active_clusters"].as_array()).flatten();
        let mut named: Vec<_> = active
            .map(|one| (one["cluster"]["name"].to_string(), one["cluster"]["connect_timeout"].as_str()))
            .collect();
        named.sort();
        Ok(named.into_iter().filter_map(|(_, timeout)| Some(timeout?.to_owned())).collect())
    }
}

/// Returns the server built with the test.
fn server(dir: &TempDir, timeout_ms: u64) -> Result<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xds-bench-server"));
    command.arg("--sock").arg(dir.path().join("xds")).arg("--ctl").arg(dir.path().join("ctl"));
    command.args(["--clusters", &CLUSTERS.to_string(), "--timeout-ms", &timeout_ms.to_string()]);
    Process::spawn("xds-bench-server", &command)
}

/// Starts Envoy with the bootstrap that all proxies get, except for the protocol variant.
fn envoy(dir: &TempDir, variant: &str, admin_socket: PathBuf) -> Result<Process> {
    let program = locate(None, &mut |step| eprintln!("{step}"))?;
    let bootstrap = Bootstrap {
        node_id: "warming".into(),
        node_cluster: "tests".into(),
        ads_socket: dir.path().join("xds"),
        admin_socket,
        health_listener: None,
        wildcard: Family::V4,
    };
    let mut rendered = bootstrap.render()?;
    rendered["dynamic_resources"]["ads_config"]["api_type"] = variant.into();
    let path = dir.path().join("bootstrap.json");
    std::fs::write(&path, rendered.to_string())?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&path).args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]);
    Process::spawn("envoy", &command)
}

/// One change.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// Time from the change until it was active, or acknowledged.
    took: Duration,
    /// How long the machine stalled during the trial.
    stalled: Duration,
}

/// Prints every time, and checks that no change was held back.
fn judge(what: &str, mut trials: Vec<Trial>) -> Result<()> {
    println!("{what}: {:.1?}", trials.iter().map(|trial| trial.took).collect::<Vec<_>>());
    let slow: Vec<_> = trials.iter().filter(|trial| trial.took > LATEST + trial.stalled).copied().collect();
    trials.sort_unstable_by_key(|trial| trial.took);
    let (best, middle, worst) = (trials[0], trials[trials.len() / 2], trials[trials.len() - 1]);
    println!("{what}: best {:.1?}, middle {middle:.1?}, worst {worst:.1?} of {}", best.took, trials.len());
    ensure!(middle.took <= PROMPT, "{what}: the middle trial took more than {PROMPT:?}: {middle:?}");
    ensure!(slow.is_empty(), "{what}: more than {LATEST:?} beyond the machine's stalls: {slow:?}");
    Ok(())
}

/// Parses a timeout as Envoy prints it.
fn printed(timeout_ms: u64) -> String {
    format!("{}.{:03}s", timeout_ms / 1000, timeout_ms % 1000)
}

fn wall() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_cluster_is_active_at_once_on_a_live_stream() -> Result<()> {
    for variant in VARIANTS {
        let pair = Pair::start(variant).await?;
        let (mut active, mut acked) = (Vec::new(), Vec::new());
        let witness = Witness::start();
        for trial in 1..=TRIALS {
            let began = Instant::now();
            let answer = pair.tell("cds 0").await?;
            let changed = answer.split_whitespace().next().context("no time")?;
            pair.active(trial).await?;
            let took = wall()?.saturating_sub(Duration::from_nanos(changed.parse()?));
            active.push(Trial { took, stalled: witness.between(began, Instant::now()) });
            let took = pair.ack().await?;
            acked.push(Trial { took, stalled: witness.between(began, Instant::now()) });
        }
        let found = pair.timeouts().await?;
        ensure!(found == [&printed(TIMEOUT_MS + TRIALS), "1s", "1s"], "{found:?} after {TRIALS} changes");
        judge(&format!("{variant}, live, from the change to active"), active)?;
        judge(&format!("{variant}, live, from the change to the ACK"), acked)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_that_changed_while_the_server_was_dead_is_active_at_once_after_the_reconnect() -> Result<()>
{
    for variant in VARIANTS {
        let mut pair = Pair::start(variant).await?;
        let (mut active, mut acked) = (Vec::new(), Vec::new());
        let witness = Witness::start();
        for trial in 1..=TRIALS {
            pair.server.kill();
            pair.server = server(&pair.dir, TIMEOUT_MS + trial)?;
            let begun = Instant::now();
            pair.active(trial * CLUSTERS).await?;
            active.push(begun.elapsed());
            let took = pair.ack().await?;
            acked.push(Trial { took, stalled: witness.between(begun, Instant::now()) });
            let found = pair.timeouts().await?;
            ensure!(found == vec![printed(TIMEOUT_MS + trial); 3], "{found:?} in trial {trial}");
        }
        // These times include Envoy's own pause before it reconnects, 50 ms to 1 s.
        println!("{variant}, reconnect, from the server's start to active: {active:.0?}");
        judge(&format!("{variant}, reconnect, from the stream's beginning to the ACK"), acked)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_holds_a_changed_cluster_back_until_its_assignment_comes() -> Result<()> {
    let pair = Pair::start("DELTA_GRPC").await?;
    pair.tell("barecds 0").await?;
    let held = Clusters { modified: 1, warming: 1 };
    wait::until("a cluster held back", BOUND, || async {
        pair.clusters().await.is_ok_and(|now| now == held)
    })
    .await?;
    let begun = Instant::now();
    while begun.elapsed() < 10 * PROMPT {
        let now = pair.clusters().await?;
        ensure!(now == held, "{now:?} after {:?} without assignment", begun.elapsed());
    }
    ensure!(pair.timeouts().await?[0] == "1s", "a cluster that is held back is active");
    ensure!(pair.acks().await?.is_empty(), "the ACK is not held back");
    pair.tell("health 0 0 0").await?;
    pair.active(1).await?;
    ensure!(pair.timeouts().await?[0] == printed(TIMEOUT_MS + 1), "the assignment did not end it");
    println!("held back for {:.1?}, until the assignment came", begun.elapsed());
    Ok(())
}
