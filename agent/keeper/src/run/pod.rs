//! The keeper as the first process of a gateway's pod. Entry point: [`run_in_pod`].
//!
//! The agent tells it what to run; until then it waits. The pod that it replaces, or that replaces it, may exist at the
//! same time: an Envoy hot-restarts from that of the previous pod. A keeper whose Envoy was succeeded waits for the end
//! of its pod, because its container would be restarted if it ended by itself.

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
use crate::l7mp;
use crate::link;
use crate::machine::Machine;
use crate::proto::instruction::What;
use crate::proto::{self, Instruction};
use crate::state::{Exit, Note, Phase, State, netns};
use crate::tail::Tail;

/// The settings of a pod's keeper.
#[derive(Debug)]
pub struct PodSettings {
    /// The NodeProxy that the pod runs.
    pub proxy: String,
    /// The pod's own directory.
    pub dir: PathBuf,
    /// The agent's Unix socket.
    pub agent_socket: PathBuf,
    /// The pod's Envoy.
    pub envoy: PathBuf,
    /// The pod's l7mp, if it has one.
    pub l7mp: Option<l7mp::Programs>,
}

/// A keeper without an Envoy.
struct Idle {
    dir: Dir,
    own: Own,
    state: State,
    states: watch::Sender<State>,
}

/// Runs what the agent wants in this pod, until SIGTERM.
///
/// Must run on the process's main thread, in a single-threaded runtime, because Envoy dies with the thread that started
/// it.
///
/// # Errors
/// Returns an error that names an unusable directory.
pub async fn run_in_pod(settings: PodSettings) -> anyhow::Result<()> {
    let dir = Dir::new(settings.dir);
    dir.create().with_context(|| dir.path().display().to_string())?;
    // From here on the signal is caught.
    let mut terminate = signal(SignalKind::terminate())?;
    let state = State::untold(&settings.proxy, std::process::id(), netns()?);
    let own = Own { envoy: settings.envoy, ads_socket: settings.agent_socket.clone(), l7mp: settings.l7mp };
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
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "unusable spec; waiting for another");
                idle.refuse(error);
            }
        }
    }
    drop(idle);
    // The last report is optional.
    let _ = timeout(link::FAREWELL, link.join_next()).await;
    Ok(())
}

/// Checks that the keeper in `dir` does its work: its Envoy serves, or none is wanted, or it was succeeded.
///
/// # Errors
/// Returns the reason why it doesn't.
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
    /// Waits for an order. Returns `None` when the keeper should end.
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
        // The previous keeper has already printed the existing log.
        let log = Tail::from_end_of(self.dir.envoy_log());
        keeper.pod = Some(InPod { own: self.own.clone(), log });
        Ok(keeper)
    }

    /// Reports why an order can't be executed.
    fn refuse(&mut self, why: String) {
        (self.state.phase, self.state.last_exit) = (Phase::Backoff, Some(Exit::Error(why)));
        self.publish();
    }

    /// Takes over the state of a keeper whose Envoy has ended.
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
