//! Writes in the background: the newest content of each key waits in a map, and a thread writes it to the
//! disk. Entry point: [`Saver`].
//!
//! Saving never waits for the disk. The number of waiting changes is bounded by the number of keys. A failed
//! write is retried with backoff and reported.

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

/// How long changes are collected after a batch, so that many changes of endpoints share one sync.
const GATHER: Duration = Duration::from_millis(50);

/// First and longest pause after a failed write.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Saves the agent's state. Clones save to the same store. The default saves nothing.
#[derive(Clone, Default)]
pub struct Saver(Option<Arc<Handle>>);

/// Stops the thread when the last clone is dropped. Waiting changes are still written, unless the last write
/// failed.
struct Handle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Signals that there are changes to write or that a flush waits.
    work: Condvar,
    /// Signals that a batch was written or has failed.
    done: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Key, Option<Content>>,
    /// A batch is being written.
    writing: bool,
    /// Number of batches tried so far.
    tried: u64,
    /// A flush waits for the batch with this number, so there is no pause before it.
    hurry: u64,
    closed: bool,
    /// Problems found while reading the store at the start.
    found: Vec<Problem>,
    /// Why the last batch failed; `None` if it succeeded.
    failing: Option<Problem>,
}

/// State of the writer's thread.
struct Writer<D> {
    shared: Arc<Shared>,
    disk: D,
    place: PathBuf,
    scribe: Scribe,
    /// Hashes of the contents on disk. Unchanged contents are not written again.
    held: HashMap<Key, u64>,
    pause: Duration,
}

// === impl Saver ===

impl Saver {
    /// Starts a thread that writes to `disk`. `place` is the disk's name in messages, and `records` are its
    /// present contents.
    ///
    /// # Errors
    /// Returns an error if the thread can't be started.
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

    /// Saves `content` under `key`, replacing any previous content.
    pub fn put(&self, key: Key, content: Content) {
        self.change(key, Some(content));
    }

    /// Deletes the content under `key`.
    pub fn remove(&self, key: Key) {
        self.change(key, None);
    }

    fn change(&self, key: Key, content: Option<Content>) {
        let Some(handle) = &self.0 else { return };
        handle.0.lock().waiting.insert(key, content);
        handle.0.work.notify_all();
    }

    /// Waits until all earlier changes are on the disk. Blocks.
    ///
    /// # Errors
    /// Returns why the changes are not on the disk, if writing fails or takes longer than `patience`.
    pub fn flush(&self, patience: Duration) -> Result<(), Problem> {
        self.0.as_ref().map_or(Ok(()), |handle| handle.0.flush(patience))
    }

    /// Returns the current problems: files that could not be read at the start, and a failing disk.
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
        // The next batch to start contains everything that waits now.
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

    /// Waits for changes, and for the end of the pause after the last batch. Returns `None` when the saver is
    /// closed and nothing waits or the last write failed.
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
        // Until the batch is done, the disk's content under these keys is unknown.
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
            // A key without a hash may still have a file, after a failed write.
            None => true,
        }
    }

    /// Handles the outcome of a batch. Changes that failed wait again, unless newer ones have replaced them.
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
