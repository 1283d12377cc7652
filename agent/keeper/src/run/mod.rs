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

/// A lock may be looked at by an agent for a moment; whoever has it longer is a keeper.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_STEP: Duration = Duration::from_millis(10);

/// What a keeper is started with.
#[derive(Debug)]
pub struct Settings {
    /// The keeper's directory, holding `spec.json`.
    pub dir: PathBuf,
    /// The agent's Unix socket.
    pub agent_socket: PathBuf,
    /// A pipe whose closing ends the keeper: its other end is the parent's.
    pub parent: Option<pipe::Receiver>,
    /// The lock of the build of this program that this process was: its Envoy is gone on with.
    pub inherited: Option<File>,
}

/// Keeps one Envoy until it is told to stop. Ends at once, without an error, when another keeper has the directory.
///
/// Must run on the process's main thread, in a runtime of that one thread: Envoy dies with the thread that started it.
///
/// # Errors
/// No or a broken `spec.json`, or an unusable directory; the error names the file.
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
    // The last report is a courtesy; an agent that misses it sees the free lock.
    let _ = timeout(link::FAREWELL, link.join_next()).await;
    // Not before: to whoever finds the lock free, this process is gone.
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
