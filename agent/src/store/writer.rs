//! Writing behind: the newest content of each key waits in a map, and a thread of its own takes it to the disk. Entry
//! point: [`Saver`].
//!
//! Nobody who saves ever waits for the disk. What waits is bounded by the keys that exist. A disk that can't be written
//! is tried again with backoff, and said so.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::commit::{Change, Failure, Scribe, commit};
use super::content::Content;
use super::disk::Disk;
use super::key::Key;
use super::problem::Problem;

/// How long changes are gathered after a batch: endpoints that come and go cost one sync together.
const GATHER: Duration = Duration::from_millis(50);

/// First and longest pause after a disk that could not be written.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Saves what the agent learns; clones save to the same store. The default saves nothing.
#[derive(Clone, Default)]
pub struct Saver(Option<Arc<Handle>>);

/// Ends the thread once nobody saves any more; what waits is still written.
struct Handle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to write, or somebody is in a hurry.
    work: Condvar,
    /// A batch was written, or could not be.
    done: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Key, Option<Content>>,
    /// A batch is on its way to the disk.
    writing: bool,
    /// Batches that were tried.
    tried: u64,
    /// Somebody waits for the batch of this number: no pause before it.
    hurry: u64,
    closed: bool,
    /// What could not be read at the start.
    found: Vec<Problem>,
    /// Why the last batch could not be written.
    failing: Option<Problem>,
}

/// The thread.
struct Writer<D> {
    shared: Arc<Shared>,
    disk: D,
    place: PathBuf,
    scribe: Scribe,
    /// A hash of what the disk holds of each key: what is there already is not written again.
    held: HashMap<Key, u64>,
    pause: Duration,
}

// === impl Saver ===

impl Saver {
    /// Starts a thread that writes to `disk`, which is called `place` and holds `records` already.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(
        disk: impl Disk,
        place: PathBuf,
        records: &[(Key, Vec<u8>)],
        found: Vec<Problem>,
    ) -> std::io::Result<Self> {
        let state = State { found, ..State::default() };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), done: Condvar::new() });
        let held = records.iter().map(|(key, content)| (key.clone(), xxh3_64(content))).collect();
        let scribe = Scribe::new(rand::random());
        let writer = Writer { shared: shared.clone(), disk, place, scribe, held, pause: BACKOFF.0 };
        std::thread::Builder::new().name("store".into()).spawn(move || writer.run())?;
        Ok(Self(Some(Arc::new(Handle(shared)))))
    }

    /// Keeps `content` under `key`, in place of what was there.
    pub fn put(&self, key: Key, content: Content) {
        self.change(key, Some(content));
    }

    /// Keeps nothing under `key` any more.
    pub fn remove(&self, key: Key) {
        self.change(key, None);
    }

    fn change(&self, key: Key, content: Option<Content>) {
        let Some(handle) = &self.0 else { return };
        handle.0.lock().waiting.insert(key, content);
        handle.0.work.notify_all();
    }

    /// Waits until all that was saved before is on the disk. Blocks.
    ///
    /// # Errors
    /// It is not there when `patience` is over, or can't be written: why.
    pub fn flush(&self, patience: Duration) -> Result<(), Problem> {
        self.0.as_ref().map_or(Ok(()), |handle| handle.0.flush(patience))
    }

    /// What is wrong: files that could not be read at the start, and why the disk can't be written now.
    pub fn problems(&self) -> Vec<Problem> {
        let Some(handle) = &self.0 else { return Vec::new() };
        let state = handle.0.lock();
        state.found.iter().chain(&state.failing).cloned().collect()
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, patience: Duration) -> Result<(), Problem> {
        let end = Instant::now() + patience;
        let mut state = self.lock();
        // The next batch that is begun has all that waits now.
        let wanted = state.tried + u64::from(state.writing) + 1;
        state.hurry = state.hurry.max(wanted);
        self.work.notify_all();
        loop {
            let idle = state.waiting.is_empty() && !state.writing;
            match &state.failing {
                None if idle || state.tried >= wanted => return Ok(()),
                Some(problem) if state.tried >= wanted => return Err(problem.clone()),
                _ => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text =
                    format!("not everything could be written within {patience:?}; the rest is tried on");
                return Err(Problem { file: PathBuf::new(), text });
            }
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

// === impl Writer ===

impl<D: Disk> Writer<D> {
    fn run(mut self) {
        while let Some(batch) = self.next() {
            let outcome = self.write(&batch);
            self.settle(batch, outcome);
        }
    }

    /// Waits for something to write and for the end of the pause that follows each batch; none: the end.
    fn next(&mut self) -> Option<BTreeMap<Key, Option<Content>>> {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        let until = Instant::now() + if state.failing.is_some() { self.pause } else { GATHER };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let paused = !left.is_zero() && state.tried >= state.hurry && !state.closed;
            if state.closed && (state.waiting.is_empty() || state.failing.is_some()) {
                return None;
            }
            if !state.waiting.is_empty() && !paused {
                state.writing = true;
                return Some(std::mem::take(&mut state.waiting));
            }
            let wait = if paused { left } else { BACKOFF.1 };
            state = shared.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn write(&mut self, batch: &BTreeMap<Key, Option<Content>>) -> Result<(), Failure> {
        let encoded = batch.iter().map(|(key, content)| (key.clone(), content.clone().map(Content::encode)));
        let changes: Vec<Change> = encoded.filter(|(key, content)| self.differs(key, content)).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let sums: Vec<_> =
            changes.iter().map(|(key, content)| (key.clone(), content.as_deref().map(xxh3_64))).collect();
        // Until it is done, nobody knows what the disk holds of these.
        for (key, _) in &sums {
            self.held.remove(key);
        }
        commit(&mut self.disk, &mut self.scribe, changes)?;
        self.held.extend(sums.into_iter().filter_map(|(key, sum)| Some((key, sum?))));
        Ok(())
    }

    fn differs(&self, key: &Key, content: &Option<Vec<u8>>) -> bool {
        match content {
            Some(content) => self.held.get(key) != Some(&xxh3_64(content)),
            // What is not held may still be there, after a failure.
            None => true,
        }
    }

    /// What could not be written waits again, unless something newer does.
    fn settle(&mut self, batch: BTreeMap<Key, Option<Content>>, outcome: Result<(), Failure>) {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        state.writing = false;
        state.tried += 1;
        match outcome {
            Ok(()) => {
                self.pause = BACKOFF.0;
                if state.failing.take().is_some() {
                    tracing::info!(store = %self.place.display(), "the store can be written again");
                }
            }
            Err(failure) => {
                for (key, content) in batch {
                    state.waiting.entry(key).or_insert(content);
                }
                let problem = self.problem(&failure);
                if state.failing.is_none() {
                    tracing::warn!(%problem, "the store can't be written");
                } else {
                    self.pause = (self.pause * 2).min(BACKOFF.1);
                }
                state.failing = Some(problem);
            }
        }
        shared.done.notify_all();
    }

    fn problem(&self, failure: &Failure) -> Problem {
        let file = failure.file.as_ref().map_or_else(|| self.place.clone(), |file| self.place.join(file));
        let text = match failure.error.kind() {
            ErrorKind::ResourceBusy => {
                "not written: another agent of this node keeps its own here now".into()
            }
            _ => format!(
                "can't be written: {}; the agent goes on, and would forget what is new if it were restarted now; make \
                 room, or the directory writable: it is tried again by itself",
                failure.error
            ),
        };
        Problem { file, text }
    }
}
