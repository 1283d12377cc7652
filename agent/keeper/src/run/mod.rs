//! A keeper's process from its start to its end. Entry points: [`run`], and [`run_in_pod`] for gateways' pods.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::dir::{Dir, Lock};
use crate::link;

mod keeper;
mod pod;
mod pods_own;
mod publish;

use keeper::Keeper;
pub use pod::{PodSettings, ready, run_in_pod};

/// An agent may hold the lock for a moment to check it. A process that holds it longer is a keeper.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_STEP: Duration = Duration::from_millis(10);

/// The settings of a keeper.
#[derive(Debug)]
pub struct Settings {
    /// The keeper's directory, with `spec.json`.
    pub dir: PathBuf,
    /// The agent's Unix socket.
    pub agent_socket: PathBuf,
    /// A pipe from the parent. The keeper ends when it closes.
    pub parent: Option<pipe::Receiver>,
    /// The lock that this process's previous build held, whose Envoy this build takes over.
    pub inherited: Option<File>,
}

/// Runs one Envoy until it is told to stop. Returns immediately, without an error, if another keeper uses the
/// directory.
///
/// Must run on the process's main thread, in a single-threaded runtime, because Envoy dies with the thread that started
/// it.
///
/// # Errors
/// Returns an error that names the file if `spec.json` is missing or invalid, or the directory is unusable.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let dir = Dir::new(settings.dir);
    dir.create().with_context(|| dir.path().display().to_string())?;
    let adopts = settings.inherited.is_some();
    let lock = match settings.inherited {
        Some(file) => dir.inherited_lock(file),
        None => lock(&dir).await,
    };
    let Some(lock) = lock.with_context(|| dir.lock_file().display().to_string())? else {
        tracing::info!(dir = %dir.path().display(), "another keeper is alive");
        return Ok(());
    };
    let mut keeper = Keeper::new(dir, adopts).await?;
    let (orders, mut instructions) = mpsc::channel(4);
    let mut link = JoinSet::new();
    let agent = link::Agent { socket: settings.agent_socket.clone(), admin: keeper.dir.admin() };
    link.spawn(agent.follow(keeper.states.subscribe(), orders));
    let mut held = Some(lock);
    if settings.parent.is_none() {
        keeper.heritage = held.take().map(|lock| (lock, settings.agent_socket));
    }
    keeper.live(&mut instructions, settings.parent).await?;
    let heritage = keeper.heritage.take();
    drop(keeper);
    // The last report is optional: an agent that misses it sees the free lock.
    let _ = timeout(link::FAREWELL, link.join_next()).await;
    // Released last: when the lock is free, the keeper's work has ended.
    drop((held, heritage));
    Ok(())
}

async fn lock(dir: &Dir) -> io::Result<Option<Lock>> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match dir.try_lock()? {
            None if Instant::now() < deadline => sleep(LOCK_STEP).await,
            outcome => return Ok(outcome),
        }
    }
}
