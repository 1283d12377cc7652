//! The keeper as the first process of a gateway's pod. Entry point: [`run_in_pod`].
//!
//! What to run it is told by the agent, and until then it waits. Beside it may be the pod that it replaces, or that replaces it: an
//! Envoy takes over from that of the pod before in a hot restart, and a keeper whose Envoy was succeeded waits for the end of its
//! pod, for if it ended by itself, its container would be started again.

use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::keeper::Keeper;
use super::pods_own::{InPod, Own, acceptable};
use super::publish::write_down;
use crate::dir::Dir;
use crate::link;
use crate::machine::Machine;
use crate::proto::instruction::What;
use crate::proto::{self, Instruction};
use crate::state::{Note, Phase, State, netns};
use crate::tail::Tail;

/// What the keeper of a pod is started with.
#[derive(Debug)]
pub struct PodSettings {
    /// The NodeProxy that the pod embodies.
    pub proxy: String,
    /// A directory of this pod's own.
    pub dir: PathBuf,
    /// The agent's Unix socket.
    pub agent_socket: PathBuf,
    /// The pod's Envoy.
    pub envoy: PathBuf,
}

/// A keeper that has nothing to keep.
struct Idle {
    dir: Dir,
    own: Own,
    state: State,
    states: watch::Sender<State>,
}

/// Keeps what the agent wants in this pod until it is told to end by SIGTERM.
///
/// Must run on the process's main thread, in a runtime of that one thread: Envoy dies with the thread that started it.
///
/// # Errors
/// An unusable directory; the error names it.
pub async fn run_in_pod(settings: PodSettings) -> anyhow::Result<()> {
    let dir = Dir::new(settings.dir);
    dir.create().with_context(|| dir.path().display().to_string())?;
    // From here on the signal is heard, whoever listens.
    let mut terminate = signal(SignalKind::terminate())?;
    let state = State::untold(&settings.proxy, netns()?);
    let own = Own { envoy: settings.envoy, ads_socket: settings.agent_socket.clone() };
    let mut idle = Idle { dir, own, states: watch::Sender::new(state.clone()), state };
    let (orders, mut instructions) = mpsc::channel(4);
    let mut link = JoinSet::new();
    let agent = link::Agent { socket: settings.agent_socket, admin: idle.dir.admin() };
    link.spawn(agent.follow(idle.states.subscribe(), orders));
    idle.publish();
    while let Some(spec) = idle.told(&mut instructions, &mut terminate).await {
        match idle.begin(spec) {
            Ok(mut keeper) => {
                keeper.live(&mut instructions, None).await?;
                idle.rest(&keeper);
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "unusable spec; waiting for another"),
        }
    }
    drop(idle);
    // The last report is a courtesy.
    let _ = timeout(link::FAREWELL, link.join_next()).await;
    Ok(())
}

/// Whether the keeper in `dir` does what it is to do: its Envoy serves, or it was told that none is wanted, or was succeeded.
///
/// # Errors
/// It does not, in words.
pub fn ready(dir: PathBuf) -> anyhow::Result<()> {
    let path = Dir::new(dir).state();
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let note: Note<State> = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let last = note.state.last_end().map(|end| format!("; the last Envoy: {end}")).unwrap_or_default();
    let State { name, phase, serves, .. } = note.state;
    if serves || phase == Phase::Stopped {
        return Ok(());
    }
    anyhow::bail!("NodeProxy {name}: {phase:?}, Envoy does not serve{last}")
}

// === impl Idle ===

impl Idle {
    /// Waits until there is something to run; none at the end.
    async fn told(
        &mut self,
        instructions: &mut mpsc::Receiver<Instruction>,
        terminate: &mut Signal,
    ) -> Option<proto::Spec> {
        loop {
            let instruction = tokio::select! {
                biased;
                _ = terminate.recv() => return None,
                instruction = instructions.recv() => instruction?,
            };
            match instruction.what {
                Some(What::Spec(spec)) => return Some(spec),
                Some(What::Stop(_)) if self.state.phase != Phase::Stopped => {
                    tracing::info!(proxy = self.state.name, "the NodeProxy is not wanted on this node");
                    self.state.phase = Phase::Stopped;
                    self.publish();
                }
                Some(What::Stop(_) | What::Renew(_) | What::Ask(_) | What::Sockets(_)) | None => {}
            }
        }
    }

    fn begin(&self, spec: proto::Spec) -> anyhow::Result<Keeper> {
        let elder = spec.elder.map(Into::into);
        let order = acceptable(spec, Some(&self.own), &self.state.name, &self.dir)?;
        let mut keeper = Keeper::with(self.dir.clone(), Machine::new(order), self.state.clone());
        keeper.states = self.states.clone();
        keeper.pair.elder = elder;
        keeper.restarts_before = self.state.restarts;
        // What is there already was told by the keeper before.
        let log = Tail::from_end_of(self.dir.envoy_log());
        keeper.pod = Some(InPod { own: self.own.clone(), log });
        Ok(keeper)
    }

    /// What is left of a keeper whose Envoy is gone.
    fn rest(&mut self, keeper: &Keeper) {
        let phase = Phase::Stopped;
        self.state = State { phase, serves: false, spec_hash: String::new(), ..keeper.state.clone() };
        self.publish();
    }

    fn publish(&self) {
        if let Err(error) = write_down(&self.dir, &self.state, None) {
            tracing::error!(%error, "the state cannot be written until the next order");
        }
        self.states.send_replace(self.state.clone());
    }
}
