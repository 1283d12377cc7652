//! `portreeve up DIR`: runs the hub, an agent and real proxies from a folder of manifests, in one process over real
//! sockets.
//!
//! Only the source of the objects differs from a cluster. All started processes end with this one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use notify::{RecursiveMode, Watcher};
use portreeve_agent::directory::Hold;
use portreeve_agent::handles::Agent;
use portreeve_agent::identity::Identity;
use portreeve_agent::link::Link;
use portreeve_agent::names;
use portreeve_agent::programs::Programs;
use portreeve_agent::replicas::Places;
use portreeve_agent::run::{MAX_STALE, Setup, spawn};
use portreeve_agent::supervisor::Supervisor;
use portreeve_agent_core::translate::Defaults;
use portreeve_hub::auth::Door;
use portreeve_hub::feed::Feed;
use portreeve_hub::files::{Complaint, Folder, Objects, Reading};
use portreeve_hub::index::Index;
use portreeve_hub::reports::Desk;
use portreeve_hub::run::services;
use portreeve_hub::settings::Settings;
use portreeve_runtime::logs::{self, Format};
use portreeve_runtime::out::{note, tell};
use portreeve_runtime::{Guard, Readiness, Shutdown, Tasks, now_ms, socket};
use portreeve_xds::serve_unix;
use tokio::sync::watch;

use crate::check;
use crate::layout;
use crate::programs;
use crate::table::{self, State, Table};
use crate::workers::Workers;

/// How often the folder is read if the operating system reports no changes.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How soon the folder is read again while a file in it is changing.
const LOOK_SOON: Duration = Duration::from_millis(150);

/// How long events are collected before they are handled.
const SETTLE: Duration = Duration::from_millis(50);

/// Flags of `portreeve up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of manifests: custom resources, and static Pods, Nodes, Namespaces, Services and Secrets.
    pub dir: PathBuf,
    /// Send 64 datagrams through every UDP listener, print which endpoints answered, and exit. The exit code is 0 if
    /// every expected endpoint answered.
    #[arg(long)]
    pub check: bool,
    /// Time for every listener to become active before the check is done anyway, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub check_timeout: u16,
    /// Node that this machine plays. Required if the folder has several.
    #[arg(long)]
    pub node: Option<String>,
    /// The programs of NodeProxies.
    #[command(flatten)]
    pub programs: programs::Flags,
    /// Directory of sockets and keepers. Default: a new temporary directory.
    #[arg(long)]
    pub run_dir: Option<PathBuf>,
    /// Flags that decide what objects mean.
    #[command(flatten)]
    pub settings: Settings,
    /// Log filter, for example info or portreeve_hub=debug.
    #[arg(long, default_value = "warn")]
    pub log_level: String,
}

/// Runs until the process is asked to end, or with `--check` until the check is done.
///
/// # Errors
/// Returns an error if a part can't start or the check fails.
pub async fn run(args: Args) -> anyhow::Result<()> {
    logs::init(&args.log_level, Format::Text)?;
    ensure!(args.dir.is_dir(), "{}: no such folder", args.dir.display());
    let mut folder = Folder::new(&args.dir);
    let Reading { objects, complaints, .. } = folder.read(now_ms());
    // Report the complaints before a later step fails: they may be the reason.
    let told = say(&[], complaints);
    let node = node(&args, &objects)?;
    let run_dir = run_dir(args.run_dir.as_deref());
    let _held = Hold::take(&run_dir, "--run-dir").await?;
    let programs = args.programs.clone().locate(programs::kinds(&objects)).await?;
    let given = names::Given::default();
    let setup = setup(&node, &run_dir, programs.clone(), given.clone())?;
    // Shutdown has two steps: the proxies end first, which needs the agent's socket, then everything else.
    let (asked, shutdown) = (Shutdown::default(), Shutdown::default());
    let mut tasks = Tasks::new(shutdown.clone());
    let readiness = Readiness::default();
    let first = readiness.guard("folder");
    let feed = Feed::new(Index::new(args.settings.clone(), 1000), readiness, Door::Open);
    let listener = socket::bind(&run_dir.join("hub.sock"), "--run-dir")?;
    let desk = Desk::new(feed.clone());
    let served = services(&feed, &desk);
    tasks.spawn("leases", desk.keep_leases());
    let until = shutdown.waiter();
    tasks.spawn_graceful("hub", async move { Ok(serve_unix(listener, served, until).await?) });
    tasks.spawn("graces", feed.clone().keep_time());
    let agent = spawn(&mut tasks, setup, &shutdown)?;
    tell(format_args!("node {node}, proxies started under {}", run_dir.display()));
    let (workers, agent_state) = (Workers::default(), agent.local.clone());
    let nowhere = Vec::new();
    let source = Source { folder, feed, node, workers, agent: agent_state, told, nowhere, given, programs };
    tasks.spawn("folder", source.run(objects, first, args.dir));
    let verdict = watch::Sender::new(None);
    let said = verdict.subscribe();
    let check = args.check.then(|| (verdict, Duration::from_secs(args.check_timeout.into())));
    tasks.spawn("table", show((agent.local.clone(), agent.supervisor.clone()), check, asked.clone()));
    let ours = args.run_dir.is_none().then_some(run_dir);
    tasks.spawn_graceful("end", end(agent, asked, shutdown, ours));
    tasks.run().await?;
    let wrong: Option<Vec<String>> = said.borrow().clone();
    match wrong {
        Some(wrong) if !wrong.is_empty() => bail!("the check failed:\n  {}", wrong.join("\n  ")),
        _ => Ok(()),
    }
}

/// Returns the agent's settings. Its only hub listens on a socket in a directory of this user, so no other user has
/// access.
fn setup(node: &str, run_dir: &Path, programs: Programs, given: names::Given) -> anyhow::Result<Setup> {
    Ok(Setup {
        gateways: None,
        node: node.to_owned(),
        hub: Places::Unix(run_dir.join("hub.sock")),
        link: Link::Plain,
        run_dir: run_dir.to_owned(),
        // No stored state is needed: the folder is always available to the agent.
        state_dir: None,
        programs,
        drain: Duration::from_secs(1),
        keeper_command: vec![std::env::current_exe()?.into()],
        with_parent: true,
        identity: Identity::Kernel,
        max_stale: Duration::from_secs(MAX_STALE.into()),
        names: names::Settings { domain: names::DEFAULT_DOMAIN.into(), server: None, given },
        defaults: Defaults::default(),
    })
}

fn node(args: &Args, objects: &Objects) -> anyhow::Result<String> {
    let names: BTreeSet<&str> = objects.nodes.iter().map(|(name, _)| &**name).collect();
    match (&args.node, names.first()) {
        (Some(wanted), _) if names.contains(wanted.as_str()) => Ok(wanted.clone()),
        (Some(wanted), _) => bail!("--node {wanted}: the folder has no such Node ({})", list(&names)),
        (None, Some(only)) if names.len() == 1 => Ok(only.to_string()),
        (None, Some(_)) => bail!("the folder has several Nodes ({}): choose one with --node", list(&names)),
        (None, None) => bail!("{}: the folder has no Node: add one for this machine", args.dir.display()),
    }
}

fn list(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

fn run_dir(given: Option<&Path>) -> PathBuf {
    given.map_or_else(
        || std::env::temp_dir().join(format!("portreeve-{}", std::process::id())),
        Path::to_path_buf,
    )
}

/// Reads the objects from the folder.
struct Source {
    folder: Folder,
    feed: Arc<Feed>,
    node: String,
    workers: Workers,
    told: Vec<Complaint>,
    /// References that led to no object, and NodeProxies without a program, at the last reading.
    nowhere: Vec<String>,
    given: names::Given,
    programs: Programs,
    agent: Arc<portreeve_agent::local::Local>,
}

// === impl Source ===

impl Source {
    async fn run(mut self, first: Objects, guard: Guard, dir: PathBuf) -> anyhow::Result<()> {
        let (touched, mut touches) = watch::channel(0u64);
        let mut watcher = notify::recommended_watcher(move |_| touched.send_modify(|n| *n += 1))?;
        watcher.watch(&dir, RecursiveMode::NonRecursive).with_context(|| dir.display().to_string())?;
        self.put(first);
        drop(guard);
        let mut wait = LOOK_AGAIN;
        loop {
            // Read the folder after a change and after the timeout.
            let _ = tokio::time::timeout(wait, touches.changed()).await;
            tokio::time::sleep(SETTLE).await;
            touches.mark_unchanged();
            self.workers.ended().iter().for_each(note);
            let Reading { objects, complaints, restless } = self.folder.read(now_ms());
            self.told = say(&self.told, complaints);
            self.put(objects);
            wait = if restless { LOOK_SOON } else { LOOK_AGAIN };
        }
    }

    fn put(&mut self, mut objects: Objects) {
        self.workers.follow(&objects.pods).iter().for_each(note);
        let (addresses, mut nowhere) = objects.route(names::DEFAULT_DOMAIN);
        nowhere.extend(programs::lacking(&objects, &self.programs));
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
        nowhere.iter().filter(|told| !self.nowhere.contains(told)).for_each(note);
        self.nowhere = nowhere;
        self.agent.reset_pods(objects.pods_on(&self.node));
        self.feed.load(|index, now| objects.reset(index, now));
        for verdict in self.feed.take_verdicts() {
            let title = verdict.key.title();
            if let Some(rejection) = &verdict.rejection {
                let kept =
                    if verdict.previous_in_force { "; the previous version stays in force" } else { "" };
                note(format_args!("{title}: {rejection}{kept}"));
            }
            verdict.warnings.iter().for_each(|(_, text)| note(format_args!("{title}: {text}")));
        }
    }
}

/// Reports the complaints that are new since the last reading. Returns all current complaints.
fn say(told: &[Complaint], complaints: Vec<Complaint>) -> Vec<Complaint> {
    for complaint in complaints.iter().filter(|complaint| !told.contains(complaint)) {
        note(format_args!("{}: {}", complaint.file.display(), complaint.text));
    }
    complaints
}

/// Prints the table once it has changed and settled. With a check, runs the check once all listeners are active, or
/// after its timeout.
async fn show(
    (local, supervisor): (Arc<portreeve_agent::local::Local>, Supervisor),
    check: Option<(watch::Sender<Option<Vec<String>>>, Duration)>,
    asked: Shutdown,
) -> anyhow::Result<()> {
    let mut changes = local.changes();
    let mut shown = Table::default();
    let begun = tokio::time::Instant::now();
    loop {
        let now = table::now(&local, &supervisor);
        let settled = !now.rows.is_empty() && now.rows.iter().all(|r| r.state != State::Pending);
        if now != shown && (settled || check.is_none()) {
            tell(format_args!("\n{}", table::render(&now, layout::width())));
            shown = now.clone();
        }
        let due = check.as_ref().filter(|(_, timeout)| settled || begun.elapsed() > *timeout);
        if let Some((verdict, _)) = due {
            verdict.send_replace(Some(check::all(&now).await?));
            asked.begin();
            return std::future::pending().await;
        }
        // Look after a change and after the timeout: the check's deadline passes without any change.
        let _ = tokio::time::timeout(Duration::from_secs(1), changes.changed()).await;
        tokio::time::sleep(SETTLE).await;
    }
}

/// Ends all started parts after a signal or after the check.
async fn end(agent: Agent, asked: Shutdown, shutdown: Shutdown, ours: Option<PathBuf>) -> anyhow::Result<()> {
    tokio::select! {
        caught = asked.on_signal() => caught?,
        () = shutdown.wait() => {}
    }
    let left = agent.supervisor.stop_all(Duration::ZERO).await;
    shutdown.begin();
    if !left.is_empty() {
        bail!("these proxies did not end: {}", left.join(", "));
    }
    if let Some(run_dir) = ours {
        // A leftover in the temporary directory is harmless.
        let _ = std::fs::remove_dir_all(&run_dir);
    }
    Ok(())
}
