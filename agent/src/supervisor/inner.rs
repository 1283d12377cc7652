//! What all parts of the supervisor share: [`Inner`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use portreeve_agent_core::status::supervised::Status;
use portreeve_keeper::dir::{Dir, replace};
use portreeve_keeper::{Order, SpecError};
use tokio::sync::{Notify, watch};

use super::embodiment::Embodiment;
use super::questions::Questions;
use super::roster::Roster;

/// Why a proxy cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// The spec cannot be carried out.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The spec cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How keepers are started.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) keepers: PathBuf,
    pub(super) exe_command: Vec<OsString>,
    pub(super) agent_socket: PathBuf,
    pub(super) with_parent: bool,
}

/// What all clones of the supervisor share.
pub(super) struct Inner {
    pub(super) config: Config,
    pub(super) roster: Mutex<Roster>,
    pub(super) status: watch::Sender<BTreeMap<String, Status>>,
    pub(super) wake: Notify,
    /// Who knows the pods that the keepers are in, where they are in pods.
    pub(super) pods: OnceLock<Weak<dyn Embodiment>>,
    /// What keepers in pods were asked.
    pub(super) questions: Questions,
}

// === impl Inner ===

impl Inner {
    /// Who knows the pods, where keepers are in pods.
    pub(super) fn pods(&self) -> Option<Arc<dyn Embodiment>> {
        self.pods.get()?.upgrade()
    }

    pub(super) fn dir(&self, name: &str) -> Dir {
        Dir::new(self.config.keepers.join(name))
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        // The roster is valid after every step of its owner.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the order to its file, unless it is there.
    pub(super) fn write(&self, dir: &Dir, order: &Order) -> Result<(), EnsureError> {
        let at = |path: &std::path::Path| {
            let path = path.to_owned();
            move |source| EnsureError::Write { path, source }
        };
        dir.create().map_err(at(dir.path()))?;
        let path = dir.spec();
        if Order::read(&path).is_ok_and(|written| written == *order) {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(order)
            .map_err(|source| SpecError::Parse { path: path.clone(), source })?;
        replace(&path, &text).map_err(at(&path))
    }
}
