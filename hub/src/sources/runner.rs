//! Keeps one follower for each source ([`Runner`]), as the file and the Secret change.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use futures::future::{AbortHandle, Aborted, BoxFuture, FutureExt, abortable};
use futures::stream::FuturesUnordered;
use portreeve_runtime::Guard;
use portreeve_xds::{Name, Version};
use tokio::sync::watch;

use super::file::SourcesFile;
use super::follow::Followed;
use super::secret::Found;
use super::wishes::{self, Wish, Wishes};

/// How often the sources file and its kubeconfigs are read again.
const REREAD: Duration = Duration::from_secs(2);

/// The followers. All are polled by one task, so an ended follower reports nothing any more.
pub struct Runner {
    followed: Followed,
    file: Option<SourcesFile>,
    secret: Option<watch::Receiver<Option<Found>>>,
    /// Dropped when the Secret was read.
    guard: Option<Guard>,
    /// The sources of the file.
    of_file: Wishes,
    /// The sources of the Secret.
    of_secret: Wishes,
    /// Whether the present content of the file or of the Secret is not used.
    stale: [bool; 2],
    started: BTreeMap<Name, Started>,
    running: FuturesUnordered<BoxFuture<'static, Result<std::convert::Infallible, Aborted>>>,
    refused: Vec<String>,
}

/// A source that is followed, or that can't be followed because of its kubeconfig.
struct Started {
    version: Version,
    handle: Option<AbortHandle>,
}

/// What happened next.
enum Event {
    Reread,
    Secret,
}

// === impl Runner ===

impl Runner {
    /// Creates a runner without sources.
    pub fn new(followed: Followed) -> Self {
        Self {
            followed,
            file: None,
            secret: None,
            guard: None,
            of_file: Wishes::new(),
            of_secret: Wishes::new(),
            stale: [false; 2],
            started: BTreeMap::new(),
            running: FuturesUnordered::new(),
            refused: Vec::new(),
        }
    }

    /// Sets the sources file, and starts its sources.
    pub fn set_file(&mut self, file: SourcesFile, first: Wishes) {
        (self.file, self.of_file) = (Some(file), first);
        self.follow();
    }

    /// Sets the Secret. `guard` is dropped when its sources are known.
    pub fn set_secret(&mut self, found: watch::Receiver<Option<Found>>, guard: Guard) {
        (self.secret, self.guard) = (Some(found), Some(guard));
    }

    /// Follows the changes of the file and of the Secret.
    ///
    /// # Errors
    /// Returns an error if the watch of the Secret has ended.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut reread = tokio::time::interval(REREAD);
        reread.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (watches_secret, reads_file) = (self.secret.is_some(), self.file.is_some());
            let event = tokio::select! {
                changed = changed(&mut self.secret), if watches_secret => {
                    changed.context("the watch of the sources' Secret ended")?;
                    Event::Secret
                }
                _ = reread.tick(), if reads_file => Event::Reread,
                () = poll(&mut self.running) => continue,
            };
            match event {
                Event::Reread => self.reread().await,
                Event::Secret => self.take_secret(),
            }
        }
    }

    async fn reread(&mut self) {
        let Some(file) = &mut self.file else { return };
        let Some(found) = file.look().await else { return };
        self.stale[0] = found.is_err();
        match found {
            Ok(wishes) => self.of_file = wishes,
            Err(error) => tracing::error!(error, "the sources stay as they are"),
        }
        self.follow();
    }

    fn take_secret(&mut self) {
        let Some(found) = self.secret.as_mut().and_then(|secret| secret.borrow_and_update().clone()) else {
            return;
        };
        let is_gone = found.is_none() && !self.of_secret.is_empty();
        self.stale[1] = is_gone;
        match found {
            Some(contents) => self.of_secret = wishes::of_secret(&contents),
            None if is_gone => tracing::error!(
                "the Secret of --sources-secret is gone: its sources stay as they are. To remove a source remove its key"
            ),
            None => tracing::warn!("the Secret of --sources-secret does not exist"),
        }
        self.follow();
        self.guard = None;
    }

    /// Starts and ends followers according to the wishes.
    fn follow(&mut self) {
        let (wanted, refused) = wishes::join(&self.of_file, &self.of_secret);
        let gone: Vec<Name> =
            self.started.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.end(&name);
            tracing::info!(source = &*name, "the source was removed");
            self.followed.feed.load(|index, _| index.remove_source(&name));
        }
        for (name, wish) in wanted {
            if self.started.get(&name).is_none_or(|started| started.version != wish.version) {
                self.end(&name);
                self.start(name, wish);
            }
        }
        for refusal in refused.iter().filter(|refusal| !self.refused.contains(refusal)) {
            tracing::error!(refusal, "a source is refused");
        }
        let count = refused.len() + self.stale.iter().filter(|stale| **stale).count();
        self.refused = refused;
        self.followed.feed.load(|index, _| index.set_refused_sources(count));
    }

    fn start(&mut self, name: Name, Wish { version, kubeconfig }: Wish) {
        self.followed.feed.load(|index, now| index.add_source(&name, now));
        let handle = match kubeconfig {
            Ok(kubeconfig) => {
                if let Some(remark) = &kubeconfig.remark {
                    tracing::warn!(source = &*name, remark, "unusual kubeconfig");
                }
                let (follower, handle) = abortable(self.followed.clone().follow(name.clone(), kubeconfig));
                self.running.push(follower.boxed());
                Some(handle)
            }
            Err(why) => {
                tracing::error!(source = &*name, error = why, "the source can't be read");
                self.followed.feed.load(|index, now| index.source_failed(&name, &why, now));
                None
            }
        };
        self.started.insert(name, Started { version, handle });
    }

    fn end(&mut self, name: &Name) {
        if let Some(handle) = self.started.remove(name).and_then(|started| started.handle) {
            handle.abort();
        }
    }
}

/// Waits for the next state of the Secret.
async fn changed(secret: &mut Option<watch::Receiver<Option<Found>>>) -> Result<(), watch::error::RecvError> {
    match secret {
        Some(secret) => secret.changed().await,
        None => std::future::pending().await,
    }
}

/// Polls the followers. Returns when an aborted one is gone.
async fn poll(running: &mut FuturesUnordered<BoxFuture<'static, Result<std::convert::Infallible, Aborted>>>) {
    match running.next().await {
        Some(Ok(never)) => match never {},
        Some(Err(Aborted)) => {}
        None => std::future::pending().await,
    }
}
