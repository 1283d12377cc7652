//! Ensures that only one agent of a node works at a time. A starting agent asks the existing one to end its work, and
//! begins when that has ended. Two agents would write one store, probe everything twice and contradict each other in
//! one report. Entry point: [`Turn::take`].
//!
//! The request uses a socket in the directory of the last known good state, so that only processes which may write
//! there can send it. (The agent's main socket is open to every proxy.) The connection stays open. When it closes, the
//! newer agent is gone, and the older one, if its process still exists, works again: a DaemonSet with a surge ends the
//! older agent once the newer is ready, and keeps it if the newer never becomes ready.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use portreeve_runtime::{Guard, Readiness, Shutdown, Tasks, socket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// The socket's name in the directory of the last known good state. The agent that listens on it has the turn.
pub const SOCKET: &str = "turn.sock";

/// How long an older agent may take to end its work; after that, the newer one begins anyway. A stopped process doesn't
/// answer, but ends its work when it continues, because it has been asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// Sent by the older agent when its work has ended.
const ENDED: u8 = b'.';

/// This process's turn to be the node's agent, until another agent asks for it.
#[derive(Debug)]
pub struct Turn {
    /// The socket for requests; `None` if it can't be opened.
    listener: Option<UnixListener>,
    /// The open connection tells the older agent that this one exists.
    elder: Option<UnixStream>,
    contested: bool,
}

/// What is handed from one turn to the next.
pub struct Before {
    /// The turn that was passed to another agent; `None` before the first one.
    pub turn: Option<Turn>,
    /// Keeps the process unready until the next turn has begun.
    pub unready: Guard,
}

/// A turn that a newer agent has requested.
#[derive(Debug)]
pub struct Passed {
    heir: UnixStream,
    /// The turn itself. A waiting older agent must not take the newer one's.
    pub turn: Turn,
    /// Keeps this process unready.
    pub unready: Guard,
}

// === impl Turn ===

impl Turn {
    /// Takes the turn from the agent whose last known good state is in `state_dir`, if there is one. `before` is this
    /// process's last turn, if it had one.
    pub async fn take(state_dir: &Path, before: Option<Self>) -> Self {
        let path = state_dir.join(SOCKET);
        let (elder, contested) = match UnixStream::connect(&path).await {
            Ok(mut elder) => {
                let answer = timeout(PATIENCE, elder.read_u8()).await;
                let pid = pid(&elder);
                match answer {
                    Ok(_) => tracing::info!(pid, "the agent that was here has ended its work"),
                    Err(_) => {
                        tracing::warn!(pid, "the agent that is here does not answer; beginning beside it")
                    }
                }
                (Some(elder), answer.is_err())
            }
            // There is no agent, or it is gone: the usual start. An agent that waits for the end of this process keeps
            // waiting.
            Err(_) => (before.and_then(|turn| turn.elder), false),
        };
        let listener = listen(state_dir, &path)
            .inspect_err(|error| {
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    "another agent of this node will not be able to ask for this one's turn"
                );
            })
            .ok();
        Self { listener, elder, contested }
    }

    /// Returns whether the previous agent didn't answer; then it may still hold its resources.
    pub fn is_contested(&self) -> bool {
        self.contested
    }

    /// Ends the work of `tasks` when a newer agent asks. Then the receiver gets the requested turn.
    pub fn work_until_asked(
        mut self,
        tasks: &mut Tasks,
        work: Shutdown,
        readiness: Readiness,
    ) -> oneshot::Receiver<Passed> {
        let (pass, passed) = oneshot::channel();
        tasks.spawn_graceful("turn", async move {
            tokio::select! {
                heir = self.asked() => {
                    let unready = readiness.guard("its turn: another agent has this node");
                    // If the receiver is gone, the process is ending.
                    let _ = pass.send(Passed { heir, turn: self, unready });
                    work.begin();
                }
                () = work.wait() => {}
            }
            Ok(())
        });
        passed
    }

    /// Waits until a newer agent asks. After that, no other can.
    async fn asked(&mut self) -> UnixStream {
        let Some(listener) = &self.listener else { return std::future::pending().await };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    self.listener = None;
                    return stream;
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept requests for this agent's turn; trying again");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

fn listen(state_dir: &Path, path: &Path) -> anyhow::Result<UnixListener> {
    // With the store's file mode, because the state may contain secrets.
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    socket::bind_with(path, "--state-dir", 0o600)
}

// === impl Passed ===

impl Passed {
    /// Tells the newer agent that the work here has ended, and waits until that agent ends.
    pub async fn work_ended(&mut self) {
        let pid = pid(&self.heir);
        if self.heir.write_u8(ENDED).await.is_ok() {
            tracing::info!(pid, "a newer agent has this node now; waiting for its end, or for this one's");
            // The newer agent sends nothing: any event is its end.
            let _ = self.heir.read_u8().await;
        }
        tracing::warn!(pid, "the newer agent is gone; this one has the node again");
    }
}

fn pid(stream: &UnixStream) -> Option<i32> {
    stream.peer_cred().ok().and_then(|peer| peer.pid())
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    /// An agent whose work never ends by itself.
    struct Agent {
        readiness: Readiness,
        contested: bool,
        work: JoinSet<Option<Passed>>,
    }

    async fn begin(dir: &Path, before: Option<Turn>) -> Agent {
        let (work, readiness) = (Shutdown::default(), Readiness::default());
        let mut tasks = Tasks::new(work.clone());
        let turn = Turn::take(dir, before).await;
        let contested = turn.is_contested();
        let passed = turn.work_until_asked(&mut tasks, work, readiness.clone());
        let mut work = JoinSet::new();
        work.spawn(async move {
            tasks.run().await.unwrap();
            passed.await.ok()
        });
        Agent { readiness, contested, work }
    }

    /// Waits until another agent has taken an agent's turn and is gone.
    async fn come_back(mut agent: Agent) -> Passed {
        let mut passed = agent.work.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(agent.readiness.waiting(), ["its turn: another agent has this node"]);
        passed.work_ended().await;
        passed
    }

    #[tokio::test]
    async fn the_turn_passes_when_the_elders_work_has_ended_and_comes_back_when_the_heir_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut waits = JoinSet::new();
        waits.spawn(come_back(begin(dir.path(), None).await));
        let heir = begin(dir.path(), None).await;
        assert!(!heir.contested && heir.readiness.waiting().is_empty());
        sleep(Duration::from_millis(50)).await;
        assert!(waits.try_join_next().is_none(), "the heir is there");
        drop(heir);
        let passed = timeout(PATIENCE, waits.join_next()).await.unwrap().unwrap().unwrap();
        let again = begin(dir.path(), Some(passed.turn)).await;
        assert!(!again.contested, "nobody answers at what they left");
    }

    #[tokio::test]
    async fn of_two_that_wait_only_the_younger_has_the_turn_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (JoinSet::new(), JoinSet::new());
        first.spawn(come_back(begin(dir.path(), None).await));
        second.spawn(come_back(begin(dir.path(), None).await));
        drop(begin(dir.path(), None).await);
        let passed = timeout(PATIENCE, second.join_next()).await.unwrap().unwrap().unwrap();
        let again = begin(dir.path(), Some(passed.turn)).await;
        sleep(Duration::from_millis(50)).await;
        assert!(first.try_join_next().is_none(), "the second is there");
        drop(again);
        timeout(PATIENCE, first.join_next()).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_elder_that_is_silent_is_waited_for_a_second_and_has_been_asked_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut elder = Turn::take(dir.path(), None).await;
        let heir = begin(dir.path(), None).await;
        assert!(heir.contested);
        timeout(PATIENCE, elder.asked()).await.unwrap();
    }

    #[tokio::test]
    async fn without_a_directory_nobody_asks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut turn = Turn::take(file.path(), None).await;
        assert!(timeout(Duration::from_millis(50), turn.asked()).await.is_err());
    }
}
