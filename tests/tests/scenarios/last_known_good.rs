//! What an agent's stored state does for its proxies: without hub and API server, through an upgrade of the agent, and
//! with problems on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portreeve_tests::envoy::Admin;
use portreeve_tests::netns::Netns;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait;

/// The pods' port.
const PORT: u16 = 5000;
/// Labels of the proxies of the gateways' VirtualService.
const GATEWAYS: &str = "app: envoy-ingress";
/// Datagrams per second through an upgrade.
const RATE: u32 = 1000;
/// Envoy's counters of changed listeners and clusters.
const MODIFIED: [&str; 2] = ["listener_manager.listener_modified", "cluster_manager.cluster_modified"];

/// A node with its gateway, a worker that answers, and a pod whose Envoy isn't started yet, with a service to each.
struct Stage {
    town: Town,
    side: Worker,
    _worker: Worker,
    _echo: Echo,
}

fn keyed() -> Pipe {
    Pipe::new("keyed", 4000, PORT).keyed("call")
}

fn spread() -> Pipe {
    Pipe::new("spread", 4001, PORT)
}

// === impl Stage ===

impl Stage {
    /// Creates everything, and waits until it is stored.
    async fn new() -> Result<Self> {
        let mut made = Self::before_agents().await?;
        made.town.start_agent(0)?;
        made.open().await?;
        Ok(made)
    }

    async fn before_agents() -> Result<Self> {
        let mut town = Town::without_portreeve(1).await?;
        town.start_hub()?;
        let worker = town.worker(1, 1, "app: worker", false).await?;
        let side = town.worker(1, 2, "app: side", false).await?;
        let echo = Echo::start(&worker.netns, "w", SocketAddr::new(worker.ip(), PORT))?;
        Ok(Self { town, side, _worker: worker, _echo: echo })
    }

    /// Applies the objects, and waits until the gateway and the disk have them.
    async fn open(&mut self) -> Result<()> {
        self.town.gateways().await?;
        let gateways = virtual_service("gateways", GATEWAYS, &[keyed(), spread()]);
        let side = virtual_service("side", "app: side", &[Pipe::new("side", 4100, PORT)]);
        self.town.apply(&format!("{gateways}---\n{side}")).await?;
        self.gateway_serves().await?;
        self.kept().await
    }

    async fn gateway_serves(&self) -> Result<()> {
        listeners(&self.town.nodes[0].gateway(), &["keyed", "spread"], BOUND).await
    }

    /// Waits until the disk has both Plans, three pods (including the agent's), the gateway's accepted resources, and
    /// the mark that the state is complete.
    async fn kept(&self) -> Result<()> {
        wait::until("a whole store", BOUND, || async {
            let count = |kind| self.town.kept(0, kind).len();
            count("plan") == 2 && count("pod") == 3 && count("accepted") == 1 && count("complete") == 1
        })
        .await?;
        // The gateway acknowledges its listeners last.
        wait::until("the accepted listeners", BOUND, || async {
            let found = self.town.kept(0, "accepted");
            let bytes = found.first().and_then(|path| fs::read(path).ok()).unwrap_or_default();
            // The name of its cluster continues with a slash.
            let holds = |name: &str| {
                let mut places = bytes.windows(name.len() + 1);
                places.any(|place| place.starts_with(name.as_bytes()) && !place.ends_with(b"/"))
            };
            holds("A/default/gateways/keyed") && holds("A/default/gateways/spread")
        })
        .await
    }

    fn kill_agent(&mut self) -> Result<()> {
        self.town.nodes[0].agent.take().context("no agent")?.kill();
        Ok(())
    }

    /// Kills hub and API server.
    fn kill_centre(&mut self) -> Result<()> {
        self.town.hub.take().context("no hub")?.kill();
        self.town.control.kill();
        Ok(())
    }

    /// Kills the gateway's Envoy, and waits until its keeper has started another that serves everything.
    async fn restart_gateway(&self) -> Result<()> {
        let before = self.town.descendants_with("--base-id");
        ensure!(!before.is_empty(), "no Envoy to kill");
        for pid in &before {
            kill(Pid::from_raw(i32::try_from(*pid)?), Signal::SIGKILL)?;
        }
        wait::until("another Envoy", BOUND, || async {
            let now = self.town.descendants_with("--base-id");
            !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
        })
        .await?;
        self.gateway_serves().await
    }

    /// Checks that datagrams pass through every listener of the gateway.
    async fn gateway_forwards(&self) -> Result<()> {
        let address = self.town.nodes[0].address();
        for pipe in [keyed(), spread()] {
            forwards(self.town.bed.root(), SocketAddr::new(address, pipe.listen)).await?;
        }
        Ok(())
    }

    /// Returns the agent's log once it contains this text.
    fn log(&mut self, text: &str) -> Result<String> {
        let agent = self.town.nodes[0].agent.as_mut().context("no agent")?;
        agent.wait_log(text, BOUND)?;
        Ok(agent.log())
    }
}

/// Waits until datagrams are answered, and then checks that none of some is lost.
async fn forwards(from: &Netns, target: SocketAddr) -> Result<()> {
    let answered = |rate, time| -> Result<bool> {
        let flow = Flow::to(target).sockets(4).rate(rate).lasting(time);
        Ok(flow.start(from)?.finish()?.lossless().is_ok())
    };
    wait::until(&format!("answers through {target}"), BOUND, || async {
        answered(50, Duration::from_millis(100)).unwrap_or(false)
    })
    .await?;
    ensure!(answered(200, Duration::from_millis(500))?, "datagrams through {target} were lost");
    Ok(())
}

async fn modified(admin: &Admin) -> Result<BTreeMap<&'static str, u64>> {
    let stats = admin.stats().await?;
    Ok(MODIFIED.into_iter().map(|name| (name, stats.get(name).copied().unwrap_or_default())).collect())
}

/// Returns the idle timeout of each UDP listener, by the last part of its name.
async fn idle(admin: &Admin) -> Result<BTreeMap<String, String>> {
    let dump = admin.config_dump().await?;
    let parts = dump["configs"].as_array().into_iter().flatten();
    let found = parts.filter_map(|part| part["dynamic_listeners"].as_array()).flatten().filter_map(|state| {
        let listener = &state["active_state"]["listener"];
        let time = listener["listener_filters"][0]["typed_config"]["idle_timeout"].as_str()?;
        Some((state["name"].as_str()?.rsplit('/').next()?.to_owned(), time.to_owned()))
    });
    Ok(found.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_agent_serves_restarted_proxies_without_hub_and_api_server() -> Result<()> {
    let mut stage = Stage::new().await?;
    stage.kill_centre()?;
    stage.kill_agent()?;
    stage.town.start_agent(0)?;
    stage.log("the last known good is in force")?;
    stage.restart_gateway().await?;
    stage.town.start_sidecar(&mut stage.side, 0)?;
    listeners(&stage.side.admin, &["side"], BOUND).await?;
    stage.gateway_forwards().await?;
    forwards(stage.town.bed.root(), SocketAddr::new(stage.side.ip(), 4100)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_with_a_changed_default_touches_no_session_until_a_proxy_starts_anew() -> Result<()> {
    let mut stage = Stage::new().await?;
    let (gateway, address) = (stage.town.nodes[0].gateway(), stage.town.nodes[0].address());
    let before = modified(&gateway).await?;
    let flow = |pipe: Pipe| {
        let flow = Flow::to(SocketAddr::new(address, pipe.listen)).sockets(10).rate(RATE / 2);
        flow.lasting(Duration::from_secs(600)).start(stage.town.bed.root())
    };
    let flows = [flow(keyed())?, flow(spread())?];
    stage.kill_agent()?;
    stage.town.start_changed_agent(0)?;
    stage.log("proxy connected")?;
    stage.log("connected=true")?;
    // An object created after the upgrade shows that this agent translates differently and is up to date.
    stage.town.apply(&virtual_service("later", GATEWAYS, &[Pipe::new("later", 4002, PORT)])).await?;
    listeners(&gateway, &["keyed", "spread", "later"], BOUND).await?;
    let times = idle(&gateway).await?;
    ensure!((&*times["later"], &*times["keyed"], &*times["spread"]) == ("90s", "60s", "60s"), "{times:?}");
    let after = modified(&gateway).await?;
    ensure!(after == before, "before the upgrade {before:?}, after it {after:?}");
    for flow in flows {
        let report = flow.stop()?;
        println!("{report}");
        report.lossless()?;
        for line in &report.lines {
            ensure!(line.upstreams().len() == 1, "{} came from {:?}", line.source, line.upstreams());
        }
    }
    stage.town.delete(&virtual_service("later", GATEWAYS, &[])).await?;
    stage.restart_gateway().await?;
    let times = idle(&gateway).await?;
    ensure!(times.values().all(|time| time == "90s"), "a proxy that started anew: {times:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_named_and_cost_no_proxy_its_listeners() -> Result<()> {
    let mut stage = Stage::new().await?;
    stage.kill_centre()?;
    stage.kill_agent()?;
    let state = stage.town.state_dir(0);
    let mut broken = Vec::new();
    // One Plan is corrupt, a slice is truncated, a pod comes from a newer version, and there is an unrelated file.
    for (kind, words) in [("plan", "is corrupt"), ("slice", "is torn"), ("pod", "a newer agent")] {
        let path = stage.town.kept(0, kind).remove(0);
        let mut bytes = fs::read(&path)?;
        match kind {
            "plan" => *bytes.last_mut().context("an empty file")? ^= 1,
            "slice" => bytes.truncate(40),
            _ => bytes[8] = 2,
        }
        fs::write(&path, bytes)?;
        broken.push((path, words));
    }
    fs::write(state.join("notes.txt"), "remember the milk")?;
    broken.push((state.join("notes.txt"), "is not a file of the agent's store"));
    stage.town.start_agent(0)?;
    let log = stage.log("the last known good is in force")?;
    for (path, words) in &broken {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let told = log.lines().filter(|line| line.contains(&*name) && line.contains(words)).count();
        ensure!(told == 1, "{name} ({words}) is told {told} times:\n{log}");
    }
    stage.restart_gateway().await?;
    stage.gateway_forwards().await
}

#[tokio::test(flavor = "multi_thread")]
async fn state_directory_that_cannot_be_made_keeps_nothing_and_stops_nothing() -> Result<()> {
    let mut stage = Stage::before_agents().await?;
    stage.town.agent_args = ["--state-dir", "/proc/portreeve"].map(String::from).to_vec();
    stage.town.start_agent(0)?;
    stage.town.gateways().await?;
    stage.town.apply(&virtual_service("gateways", GATEWAYS, &[keyed(), spread()])).await?;
    stage.gateway_serves().await?;
    stage.gateway_forwards().await?;
    let log = stage.log("the store can't be written")?;
    for words in ["/proc/portreeve: the store can't be read", "it is tried again by itself"] {
        ensure!(log.contains(words), "{words:?} is not in\n{log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_is_told_and_the_newest_is_kept_once_it_has_room() -> Result<()> {
    let mut stage = Stage::before_agents().await?;
    // Room for two files.
    stage.town.start_agent_with_disk(0, 8)?;
    stage.town.gateways().await?;
    stage.town.apply(&virtual_service("gateways", GATEWAYS, &[keyed(), spread()])).await?;
    stage.gateway_serves().await?;
    stage.gateway_forwards().await?;
    let log = stage.log("the store can't be written")?;
    ensure!(log.contains("No space left on device"), "{log}");
    stage.town.resize_disk(0, 1024)?;
    stage.log("the store can be written again")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_keeps_what_the_disk_does_not_know_until_the_hub_has_spoken() -> Result<()> {
    let mut stage = Stage::new().await?;
    let (state, gateway) = (stage.town.state_dir(0), stage.town.nodes[0].gateway());
    // The agent is killed before the newest object is on disk.
    let older = stage.town.dir().join("older");
    copy(&state, &older)?;
    let newest = virtual_service("newest", GATEWAYS, &[Pipe::new("newest", 4002, PORT)]);
    stage.town.apply(&newest).await?;
    let target = SocketAddr::new(stage.town.nodes[0].address(), 4002);
    forwards(stage.town.bed.root(), target).await?;
    let flow = Flow::to(target).sockets(4).rate(RATE / 2).lasting(Duration::from_secs(600));
    let flow = flow.start(stage.town.bed.root())?;
    stage.kill_centre()?;
    stage.kill_agent()?;
    fs::remove_dir_all(&state)?;
    copy(&older, &state)?;
    stage.town.start_agent(0)?;
    stage.log("the last known good is in force")?;
    stage.log("proxy connected")?;
    let gone = wait::until("a listener that is taken away", Duration::from_secs(2), || async {
        gateway.listeners().await.is_ok_and(|found| found.len() < 3)
    });
    ensure!(gone.await.is_err(), "what the disk does not know was taken away");

    stage.town.control.revive().await?;
    stage.town.start_hub()?;
    stage.log("fed by")?;
    stage.town.apply(&virtual_service("last", GATEWAYS, &[Pipe::new("last", 4003, PORT)])).await?;
    listeners(&gateway, &["keyed", "spread", "newest", "last"], BOUND).await?;
    let report = flow.stop()?;
    println!("{report}");
    report.lossless()?;
    stage.town.delete(&newest).await?;
    listeners(&gateway, &["keyed", "spread", "last"], BOUND).await
}

/// Copies a directory of files.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().context("a file's name")?))?;
        }
    }
    Ok(())
}
