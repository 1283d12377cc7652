//! A proxy's processes: the Envoy that serves and, during a hot restart, its heir. Entry point: [`Pair`].

use std::fs;
use std::future::pending;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::child::{self, Envoy, mark};
use crate::dir::Dir;
use crate::envoy::args::Place;
use crate::envoy::stand_in::StandIn;
use crate::envoy::{admin, base_id, shm};
use crate::executable::Stamp;
use crate::heir::{LATE, overlap_s};
use crate::l7mp;
use crate::machine::{Event, Machine};
use crate::spec::{Program, Spec};
use crate::state::{Exit, State};

const SOCKETS: &str = "/proc/net/unix";
const ADMIN_POLL: Duration = Duration::from_millis(50);
/// Interval of checks of an Envoy that waits for its configuration, for example because the agent is unreachable.
const PATIENT_POLL: Duration = Duration::from_millis(200);
/// Timeout for a binary to print its version.
const VERSION: Duration = Duration::from_secs(5);
/// Number of bytes at the end of the log that are searched for an Envoy's last message.
const WORDS_FROM: u64 = 64 * 1024;
/// Maximum length of an Envoy's last message, in characters.
const WORDS: usize = 400;

/// An Envoy that another keeper runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Elder {
    pub(super) base_id: u32,
    pub(super) epoch: u32,
    /// Number of its worker threads.
    pub(super) concurrency: u32,
}

/// The processes.
#[derive(Debug)]
pub(super) struct Pair {
    dir: Dir,
    pub(super) envoy: Option<Envoy>,
    pub(super) heir: Option<Envoy>,
    /// The Envoy of another keeper from which the next one hot-restarts.
    pub(super) elder: Option<Elder>,
    /// Answers an Envoy whose predecessor died before it told that to end.
    stand_in: Option<StandIn>,
    /// An Envoy of another keeper may still be asked by the one that serves, until this time.
    asked_until: Option<Instant>,
    /// The replaced file seen last, and whether it was reported.
    other_file: Option<(Stamp, bool)>,
}

// === impl Pair ===

impl Pair {
    pub(super) fn new(dir: Dir) -> Self {
        Self {
            dir,
            envoy: None,
            heir: None,
            elder: None,
            stand_in: None,
            asked_until: None,
            other_file: None,
        }
    }

    /// Takes over the proxy that an earlier build of this program started in this process, described by `state`.
    pub(super) fn adopt(&mut self, program: &Program, state: &State) -> anyhow::Result<()> {
        let pid = state.envoy_pid.context("no process")?;
        let place = match program {
            Program::Envoy => {
                let base_id = state.base_id.context("no base id")?;
                Some(Place { base_id, epoch: state.epoch, overlap_s: 0 })
            }
            Program::L7mp(_) => None,
        };
        let file = place.and_then(|_| Stamp::of(&Path::new("/proc").join(pid.to_string()).join("exe")));
        let (ticks, started_ms) = (state.envoy_ticks, state.started_ms.unwrap_or_default());
        tracing::info!(pid, base_id = state.base_id, epoch = state.epoch, "Envoy adopted");
        self.envoy = Some(Envoy { pid, ticks, place, started_ms, file, log: 0 });
        Ok(())
    }

    /// Starts the proxy. An Envoy gets the base id `preferred` if it is free.
    pub(super) async fn spawn(&mut self, spec: &Spec, preferred: Option<u32>) -> anyhow::Result<()> {
        let place = match &spec.program {
            Program::Envoy => Some(self.place(spec, preferred).await?),
            Program::L7mp(_) => None,
        };
        let envoy = child::spawn(&self.dir, spec, place)?;
        let (base_id, epoch) = (place.map(|place| place.base_id), place.map(|place| place.epoch));
        tracing::info!(pid = envoy.pid, base_id, epoch, program = %spec.envoy.display(), "proxy started");
        self.envoy = Some(envoy);
        Ok(())
    }

    /// Returns the place of the next Envoy: behind the elder if it can hot-restart from it, otherwise in epoch 0.
    async fn place(&self, spec: &Spec, preferred: Option<u32>) -> anyhow::Result<Place> {
        let admin = self.dir.admin();
        child::remove_if_there(&admin).with_context(|| admin.display().to_string())?;
        if let Some(place) = self.behind_elder(spec).await? {
            return Ok(place);
        }
        let sockets = fs::read_to_string(SOCKETS).context(SOCKETS)?;
        let key = self.dir.path().to_string_lossy();
        let base_id = base_id::choose(&sockets, &key, preferred).context("no base id is free")?;
        Ok(Place { base_id, epoch: 0, overlap_s: 0 })
    }

    /// Returns the place after the elder; `None` if there is no elder, or this Envoy can't hot-restart from it.
    async fn behind_elder(&self, spec: &Spec) -> anyhow::Result<Option<Place>> {
        let Some(Elder { base_id, epoch, concurrency }) = self.elder else { return Ok(None) };
        let sockets = fs::read_to_string(SOCKETS).context(SOCKETS)?;
        if !base_id::is_bound(&sockets, base_id, epoch) {
            tracing::info!(base_id, epoch, "the Envoy to take over from is gone");
            return Ok(None);
        }
        let own = hot_restart_version(&spec.envoy).await?;
        let shared = shm::version(base_id).context("its shared memory: is /dev/shm the host's?");
        match shared {
            Ok(shared) if shared == own && concurrency == spec.concurrency => {
                Ok(Some(behind(base_id, epoch, spec)))
            }
            other => {
                let other = other.map_err(|error| format!("{error:#}"));
                tracing::warn!(
                    ?other,
                    own,
                    concurrency,
                    "it cannot be taken over from: Envoy starts beside it"
                );
                Ok(None)
            }
        }
    }

    /// Returns whether an Envoy of another keeper hot-restarts from the one at this place.
    pub(super) fn has_successor(base_id: u32, epoch: u32) -> bool {
        fs::read_to_string(SOCKETS)
            .is_ok_and(|sockets| base_id::is_bound(&sockets, base_id, epoch.saturating_add(1)))
    }

    /// Makes another hot restart possible after an Envoy died before it served.
    pub(super) fn forget_start(&self) {
        let place = self.envoy.as_ref().and_then(|envoy| envoy.place).filter(|place| place.epoch > 0);
        place.into_iter().for_each(forget_start);
    }

    /// Starts an heir. Returns false if a hot restart is impossible.
    pub(super) async fn beget(&mut self, spec: &Spec) -> anyhow::Result<bool> {
        let elder = self.envoy.as_ref().and_then(|envoy| envoy.place);
        let elder = elder.context("no Envoy is there to take over from")?;
        let shared = shm::version(elder.base_id).context("Envoy's shared memory")?;
        let own = hot_restart_version(&spec.envoy).await?;
        if own != shared {
            tracing::warn!(
                from = shared,
                to = own,
                "hot restarts of another kind: Envoy is drained and restarted"
            );
            return Ok(false);
        }
        let place = behind(elder.base_id, elder.epoch, spec);
        let heir = child::spawn(&self.dir, spec, Some(place))?;
        tracing::info!(pid = heir.pid, base_id = place.base_id, epoch = place.epoch, "heir started");
        self.heir = Some(heir);
        Ok(true)
    }

    /// Makes the heir the proxy's Envoy, because the old one has ended.
    pub(super) fn inherit(&mut self) {
        self.envoy = self.heir.take();
        tracing::info!(pid = self.envoy.as_ref().map(|envoy| envoy.pid), "the heir took over");
        // Also after a regular exit: a signal, and not the heir, may have ended the old Envoy.
        self.stand_in();
    }

    /// Forgets the Envoy that served, and frees the socket that is held for it.
    pub(super) fn forget_envoy(&mut self) {
        (self.envoy, self.stand_in, self.asked_until) = (None, None, None);
    }

    /// Remembers that the Envoy, which is live now, took over from one of another keeper.
    pub(super) fn followed(&mut self, now: Instant) {
        let place = self.envoy.as_ref().and_then(|envoy| envoy.place).filter(|place| place.epoch > 0);
        self.asked_until = place.map(|place| now + Duration::from_secs(place.overlap_s.into()));
    }

    /// Answers for the Envoy of another keeper if that died before it was told to end.
    pub(super) fn watch_elder(&mut self, now: Instant) {
        if self.asked_until.is_none_or(|until| now >= until) {
            self.asked_until = None;
            return;
        }
        let Some(Place { base_id, epoch, .. }) = self.envoy.as_ref().and_then(|envoy| envoy.place) else {
            return;
        };
        let there = |sockets: String| base_id::is_bound(&sockets, base_id, epoch.saturating_sub(1));
        if fs::read_to_string(SOCKETS).is_ok_and(|sockets| !there(sockets)) {
            tracing::warn!("the Envoy of another keeper died before it was told to end");
            self.asked_until = None;
            self.stand_in();
        }
    }

    /// Answers for the Envoy before the one that serves, for as long as that may be asked.
    fn stand_in(&mut self) {
        let place = self.envoy.as_ref().and_then(|envoy| envoy.place);
        let Some(place) = place.filter(|place| place.epoch > 0) else { return };
        let lasting = Duration::from_secs(place.overlap_s.into()) + LATE;
        match StandIn::begin(place, lasting) {
            Ok(stand_in) => self.stand_in = Some(stand_in),
            Err(error) => tracing::warn!(%error, "nobody answers Envoy for the one before it"),
        }
    }

    /// Returns whether this process answers for an Envoy that died.
    pub(super) fn stands_in(&mut self) -> bool {
        self.stand_in.as_mut().is_some_and(|stand_in| !stand_in.is_over())
    }

    /// Sends a signal to the Envoy that serves.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(envoy) = &self.envoy {
            envoy.signal(signal);
        }
    }

    /// Kills the heir.
    pub(super) fn kill_heir(&self) {
        if let Some(heir) = &self.heir {
            tracing::warn!(
                pid = heir.pid,
                "the heir is killed: it is not wanted any more, or never answered"
            );
            heir.signal(Signal::SIGKILL);
        }
    }

    /// Waits until one of the processes ends.
    pub(super) async fn ended(&self) -> Event {
        let of = |envoy: &'_ Option<Envoy>| envoy.is_some();
        tokio::select! {
            exit = ended(self.envoy.as_ref()), if of(&self.envoy) => Event::Exited(exit),
            exit = ended(self.heir.as_ref()), if of(&self.heir) => Event::HeirExited(exit),
            else => pending().await,
        }
    }

    /// Handles the end of an heir that hasn't taken over: makes another hot restart possible, and returns the exit to
    /// report. `how` is `exit` as text.
    pub(super) fn reap_heir(&mut self, exit: Exit, how: &str) -> Exit {
        let Some(heir) = self.heir.take() else { return exit };
        heir.place.into_iter().for_each(forget_start);
        let epoch = heir.place.map_or(0, |place| place.epoch);
        let words = last_words(&self.dir.envoy_log(), heir.log);
        let told = format!("Envoy of restart epoch {epoch}: {how}{words}; the one before it serves on");
        tracing::warn!(pid = heir.pid, told, "the heir ended before it took over");
        Exit::Error(told)
    }

    /// Waits until the admin interface shows a change that concerns `machine`.
    pub(super) async fn seen(&self, machine: &Machine) -> Event {
        let (heir, envoy) = (machine.awaits_heir().then_some(&self.heir), &self.envoy);
        let answered = !machine.is_mute();
        let awaited = match (heir.and_then(Option::as_ref), envoy) {
            (Some(heir), _) => heir,
            (None, Some(envoy)) if !machine.is_live() => envoy,
            _ => return pending().await,
        };
        loop {
            sleep(if answered { PATIENT_POLL } else { ADMIN_POLL }).await;
            if let Program::L7mp(settings) = &machine.running().spec.program {
                if l7mp::answers(settings.port, &mark(&self.dir)).await {
                    return Event::Live;
                }
                continue;
            }
            let standing = admin::look(&self.dir.admin()).await;
            match standing.filter(|standing| awaited.place.is_some_and(|place| place.epoch == standing.epoch))
            {
                Some(standing) if standing.live && heir.is_some() => return Event::HeirLive,
                Some(standing) if standing.live => return Event::Live,
                Some(_) if !answered && heir.is_some() => return Event::HeirAnswered,
                Some(_) if !answered => return Event::Answered,
                _ => {}
            }
        }
    }

    /// Returns whether the file at `path` was replaced since Envoy started, is unchanged in two checks, and was not
    /// reported yet.
    pub(super) fn is_renewed(&mut self, path: &Path) -> bool {
        let newest = self.heir.as_ref().or(self.envoy.as_ref());
        let started = newest.and_then(|envoy| envoy.file);
        let now = Stamp::of(path).filter(|now| started.is_some_and(|started| started != *now));
        let before = self.other_file;
        self.other_file = now.map(|now| (now, before.is_some_and(|(stamp, _)| stamp == now)));
        matches!((before, self.other_file), (Some((_, false)), Some((_, true))))
    }
}

/// Returns the place of an Envoy of `spec` that hot-restarts from the one with this base id and epoch.
fn behind(base_id: u32, epoch: u32, spec: &Spec) -> Place {
    Place { base_id, epoch: epoch.saturating_add(1), overlap_s: overlap_s(spec.drain_s) }
}

/// Handles the death of an Envoy that hasn't served yet.
fn forget_start(place: Place) {
    if let Err(error) = shm::forget_start(place.base_id) {
        tracing::warn!(%error, "Envoy's shared memory cannot be written");
    }
}

async fn ended(envoy: Option<&Envoy>) -> Exit {
    match envoy {
        Some(envoy) => envoy.ended().await,
        None => pending().await,
    }
}

/// Returns the text that is equal for two builds of Envoy if one can hot-restart from the other.
async fn hot_restart_version(envoy: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(envoy);
    command.arg("--hot-restart-version").kill_on_drop(true);
    let said = timeout(VERSION, command.output()).await.context("Envoy does not say its version")?;
    let said = said.with_context(|| envoy.display().to_string())?;
    // Envoy 1.40 prints it to standard error.
    let text = [said.stdout, said.stderr].concat();
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

/// Returns why an Envoy ended, from its log after `from` bytes: with a leading colon, or empty.
fn last_words(log: &Path, from: u64) -> String {
    let read = || {
        let mut file = fs::File::open(log)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(WORDS_FROM).read_to_end(&mut bytes).map(|_| bytes)
    };
    let text = read().unwrap_or_default();
    let words = words(&String::from_utf8_lossy(&text));
    if words.is_empty() { words } else { format!(": {words}") }
}

/// Parses `[time][thread][critical][main] [file:line] words`; a command-line error has no brackets. The offending
/// configuration, which Envoy appends in full, is removed, and so are randomly doubled spaces, so that the same error
/// always gives the same text.
fn words(log: &str) -> String {
    let critical = log.lines().find(|line| line.contains("[critical]"));
    let said = critical.and_then(|line| line.splitn(3, "] ").nth(2));
    let said =
        said.or_else(|| log.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with('[')));
    let said = said.unwrap_or_default().split(" initializing config '").next().unwrap_or_default();
    let said: Vec<_> = said.split_whitespace().collect();
    said.join(" ").chars().take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn last_words_are_the_reason_without_the_configuration() {
        let told = "[t][1][info][main] [s.cc:1] fine\n[t][1][critical][main] [s.cc:449] error `no such  field:   'x'` \
                    initializing config 'goo.gle/debugstr node {}'\n[t][1][info][main] [s.cc:2] exiting\nno such field\n";
        assert_eq!(words(told), "error `no such field: 'x'`");
        assert_eq!(words("PARSE ERROR: Argument: --nonsense\n\n"), "PARSE ERROR: Argument: --nonsense");
        assert_eq!(words("[t][1][info][main] [s.cc:1] fine\n"), "");
    }
}
