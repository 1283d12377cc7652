//! The keeper's loop: executes the actions of the [`Machine`] and stores the result. [`Keeper::live`].

use std::future::pending;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep_until};

use super::pods_own::{InPod, Own, acceptable};
use crate::dir::{Dir, Lock, bound_log};
use crate::envoy::admin;
use crate::handover::{self, Handover};
use crate::machine::{Action, Event, Machine};
use crate::memory::Memory;
use crate::pair::Pair;
use crate::proto::instruction::What;
use crate::proto::{Instruction, Spec};
use crate::spec::Order;
use crate::state::{Exit, Note, PROTOCOL, Process, State, begun, netns, now_ms, out_of_memory};
use crate::{parent, predecessor};

/// How often the size of the log, and Envoy's file, are checked.
const FILE_CHECK: Duration = Duration::from_secs(5);
/// How often Envoy's new log lines are copied to the pod's log.
const LOG_CHECK: Duration = Duration::from_secs(1);

/// The keeper of one proxy, with its state.
pub(super) struct Keeper {
    pub(super) dir: Dir,
    pub(super) machine: Machine,
    pub(super) pair: Pair,
    pub(super) state: State,
    pub(super) states: watch::Sender<State>,
    pub(super) epoch: (Instant, u64),
    pub(super) restarts_before: u64,
    pub(super) memory: Option<Memory>,
    /// The heir as stored last.
    pub(super) heir: Option<Process>,
    /// Whether the state still has to be written to its file.
    pub(super) unwritten: bool,
    /// The lock and the agent's socket for this program's next build; `None` in a keeper that ends with its parent.
    pub(super) heritage: Option<(Lock, PathBuf)>,
    /// The command of the build that replaces this one.
    pub(super) next_build: Option<Vec<String>>,
    /// `None` outside pods.
    pub(super) pod: Option<InPod>,
}

fn order(dir: &Dir) -> anyhow::Result<Order> {
    let order = Order::read(&dir.spec())?;
    order.spec.check(dir).with_context(|| dir.spec().display().to_string())?;
    let of_dir = dir.path().file_name().is_some_and(|name| name == order.spec.name.as_str());
    anyhow::ensure!(of_dir, "{}: the directory is not that of {:?}", dir.spec().display(), order.spec.name);
    Ok(order)
}

// === impl Keeper ===

impl Keeper {
    /// Creates a keeper that takes over the Envoy of this process's previous build, or that starts one.
    pub(super) async fn new(dir: Dir, adopts: bool) -> anyhow::Result<Self> {
        match adopts.then(|| Handover::take(&dir)) {
            Some(Ok(Handover { order, state })) => {
                let mut keeper = Self::with(dir, Machine::adopted(order, Instant::now()), state);
                let program = keeper.machine.running().spec.program.clone();
                keeper.pair.adopt(&program, &keeper.state)?;
                keeper.restarts_before = keeper.state.restarts;
                return Ok(keeper);
            }
            Some(Err(error)) => tracing::error!(error = format!("{error:#}"), "no Envoy to go on with"),
            None => {}
        }
        let order = order(&dir)?;
        let before = std::fs::read(dir.state()).ok();
        let before = before.and_then(|text| serde_json::from_slice::<Note<State>>(&text).ok());
        if let Some(before) = &before {
            predecessor::gone(before).await;
        }
        let before = before.map(|note| note.state);
        let state = begun(&order, before.as_ref(), netns()?);
        let mut keeper = Self::with(dir, Machine::new(order), state);
        keeper.restarts_before = before.map_or(0, |before| before.restarts + u64::from(was_started(&before)));
        Ok(keeper)
    }

    pub(super) fn with(dir: Dir, machine: Machine, state: State) -> Self {
        Self {
            pair: Pair::new(dir.clone()),
            dir,
            machine,
            states: watch::Sender::new(state.clone()),
            state: State { protocol: PROTOCOL, ..state },
            epoch: (Instant::now(), now_ms()),
            memory: Memory::own(),
            heir: None,
            unwritten: false,
            restarts_before: 0,
            heritage: None,
            next_build: None,
            pod: None,
        }
    }

    /// Runs until the machine is finished.
    pub(super) async fn live(
        &mut self,
        instructions: &mut mpsc::Receiver<Instruction>,
        parent: Option<pipe::Receiver>,
    ) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut file_check = interval(if self.pod.is_some() { LOG_CHECK } else { FILE_CHECK });
        let parent = parent::closed(parent);
        tokio::pin!(parent);
        let mut parent_lives = true;
        let mut event = Event::Tick;
        while !self.handle(event).await {
            self.renew();
            let drain = self.machine.order().spec.drain();
            let wake = self.machine.wake();
            event = tokio::select! {
                ended = self.pair.ended() => ended,
                () = due(wake) => Event::Tick,
                Some(instruction) = instructions.recv() => self.instructed(instruction),
                _ = terminate.recv() => self.dismissed(drain),
                _ = interrupt.recv() => self.dismissed(drain),
                () = &mut parent, if parent_lives => {
                    parent_lives = false;
                    Event::Stop(drain)
                }
                seen = self.pair.seen(&self.machine) => seen,
                _ = file_check.tick() => self.check_files(),
            };
        }
        Ok(())
    }

    /// Handles one event and its consequences. Returns true when the keeper's work is done.
    async fn handle(&mut self, event: Event) -> bool {
        let event = self.note(event);
        let mut action = self.machine.on(event, Instant::now());
        while let Some(now) = action.take() {
            match now {
                Action::Spawn => action = self.spawn().await,
                Action::SpawnHeir => action = self.spawn_heir().await,
                Action::KillHeir => self.pair.kill_heir(),
                Action::Inherit => self.pair.inherit(),
                Action::Drain => self.drain().await,
                Action::Terminate => self.pair.signal(Signal::SIGTERM),
                Action::Kill => self.pair.signal(Signal::SIGKILL),
                Action::Finish => {
                    self.finish();
                    return true;
                }
            }
        }
        self.publish();
        false
    }

    /// Records processes that have ended.
    fn note(&mut self, event: Event) -> Event {
        match event {
            Event::Exited(exit) => {
                tracing::warn!(pid = self.state.envoy_pid, how = %exit, "Envoy ended");
                self.state.out_of_memory = self.was_killed_for_memory(&exit);
                self.tell_log();
                if self.pod.is_some() && !self.machine.is_live() {
                    self.pair.forget_start();
                }
                self.pair.forget_envoy();
                let succeeded = exit == Exit::Code(0) && self.has_successor();
                if succeeded { Event::Succeeded } else { Event::Exited(exit) }
            }
            Event::HeirExited(exit) => {
                let killed = self.was_killed_for_memory(&exit);
                let limit = self.memory.as_ref().and_then(Memory::limit);
                let how = if killed { out_of_memory(limit) } else { exit.to_string() };
                Event::HeirExited(self.pair.reap_heir(exit, &how))
            }
            Event::Live => {
                tracing::info!("Envoy is live");
                if self.pod.is_some() {
                    self.pair.followed(Instant::now());
                }
                Event::Live
            }
            other => other,
        }
    }

    /// Returns whether the kernel's OOM killer ended an Envoy, which is counted and logged. Another process in the same
    /// cgroup may have been the one that was killed, but together with Envoy's own SIGKILL that is unlikely.
    fn was_killed_for_memory(&mut self, exit: &Exit) -> bool {
        let killed = self.memory.as_mut().is_some_and(Memory::killed) && *exit == Exit::KILLED;
        if killed {
            self.state.memory_kills += 1;
            let limit = self.memory.as_ref().and_then(Memory::limit);
            tracing::error!(
                limit,
                "the kernel killed Envoy for lack of memory: raise the limit of its cgroup"
            );
        }
        killed
    }

    fn instructed(&mut self, instruction: Instruction) -> Event {
        match instruction.what {
            Some(What::Renew(renew)) => {
                self.next_build = Some(renew.command);
                Event::Tick
            }
            Some(What::Stop(stop)) => Event::Stop(Duration::from_secs(stop.drain_s.into())),
            Some(What::Spec(spec)) => match self.accepted(spec) {
                Ok(order) => Event::Ordered(order),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "unusable spec; keeping the old one");
                    Event::Tick
                }
            },
            // Already answered.
            Some(What::Ask(_) | What::Sockets(_)) => Event::Tick,
            None => {
                tracing::warn!("ignoring an instruction of a newer version");
                Event::Tick
            }
        }
    }

    /// Replaces this program with its next build, if there is one and nothing is in progress. Returns if that fails or
    /// isn't due.
    fn renew(&mut self) {
        let (Some((lock, agent_socket)), Some(order)) = (&self.heritage, self.machine.settled()) else {
            return;
        };
        if self.pair.stands_in() {
            return;
        }
        let Some(command) = self.next_build.take() else { return };
        // If the agent has another mount namespace, this may be the program that already runs.
        let is_other = |program: &String| handover::runs("self", program.as_ref()).is_ok_and(|same| !same);
        if !command.first().is_some_and(is_other) {
            return tracing::debug!(?command, "no other build of this program");
        }
        tracing::info!(?command, "becoming another build of this program");
        let handover = Handover {
            order: order.clone(),
            state: State { spec_hash: order.hash.clone(), ..self.state.clone() },
        };
        let written = handover.write(&self.dir).map_err(std::io::Error::other);
        let failed = written.map(|()| handover::become_next(&command, &self.dir, agent_socket, lock));
        tracing::error!(error = %failed.unwrap_or_else(|error| error), "this process stays what it is");
    }

    fn accepted(&mut self, spec: Spec) -> anyhow::Result<Order> {
        if self.pod.is_some() {
            self.pair.elder = spec.elder.map(Into::into);
        }
        let order = acceptable(spec, self.own(), &self.state.name, &self.dir)?;
        if order.hash != self.state.spec_hash {
            tracing::warn!(
                from = self.state.spec_hash,
                to = order.hash,
                "new spec: Envoy is restarted, hot if that can be"
            );
        }
        Ok(order)
    }

    async fn spawn(&mut self) -> Option<Action> {
        match self.pair.spawn(&self.machine.order().spec, self.state.base_id).await {
            Ok(()) => None,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "Envoy cannot be started");
                self.machine.on(Event::Exited(Exit::Error(error)), Instant::now())
            }
        }
    }

    async fn spawn_heir(&mut self) -> Option<Action> {
        let event = match self.pair.beget(&self.machine.order().spec).await {
            Ok(true) => return None,
            Ok(false) => Event::Strangers,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "no heir can be started; Envoy serves on");
                Event::HeirExited(Exit::Error(error))
            }
        };
        self.machine.on(event, Instant::now())
    }

    async fn drain(&mut self) {
        if let Err(error) = admin::drain_listeners(&self.dir.admin()).await {
            tracing::warn!(%error, "Envoy does not drain");
        }
    }

    fn check_files(&mut self) -> Event {
        self.tell_log();
        self.pair.watch_elder(Instant::now());
        if let Err(error) = bound_log(&self.dir.envoy_log()) {
            tracing::warn!(%error, "Envoy's log cannot be set aside");
        }
        if self.pair.is_renewed(&self.machine.order().spec.envoy) {
            tracing::warn!("Envoy's file was replaced: Envoy is restarted");
            return Event::Renewed;
        }
        Event::Tick
    }

    /// Returns the paths that are the pod's own.
    fn own(&self) -> Option<&Own> {
        self.pod.as_ref().map(|pod| &pod.own)
    }

    /// Copies Envoy's new log lines to the pod's log.
    fn tell_log(&mut self) {
        if let Some(Err(error)) = self.pod.as_mut().map(InPod::tell_log) {
            tracing::warn!(%error, "Envoy's log cannot be copied to the pod's log");
        }
    }

    /// Returns whether an Envoy of another pod hot-restarts from this one's.
    pub(super) fn has_successor(&self) -> bool {
        let place = self.pod.as_ref().and(self.state.base_id);
        place.is_some_and(|base_id| Pair::has_successor(base_id, self.state.epoch))
    }

    /// Returns the event for the end of this process.
    fn dismissed(&self, drain: Duration) -> Event {
        if self.has_successor() { Event::Yield } else { Event::Stop(drain) }
    }
}

/// Returns whether the keeper with this last state had started a proxy.
fn was_started(before: &State) -> bool {
    before.base_id.is_some() || before.started_ms.is_some()
}

async fn due(wake: Option<Instant>) {
    match wake {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}
