//! Writes the addresses that this node could serve to a file, for the role `addresses`: [`run`].

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portreeve_agent_core::world::World;

use crate::local::Local;

/// The file's name in the run directory.
pub const FILE: &str = "addresses.json";

/// How long changes are collected before the file is written.
const GATHER: Duration = Duration::from_millis(50);

/// Pause after a write that failed, for example because the disk is full.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps the file up to date, and never returns.
///
/// # Errors
/// Never returns an error: a failed write is logged once and tried again. The file then has what was written last.
pub async fn run(local: Arc<Local>, directory: PathBuf) -> anyhow::Result<()> {
    let (path, mut changes) = (directory.join(FILE), local.changes());
    let (mut written, mut failing) = (None::<Arc<BTreeSet<IpAddr>>>, false);
    loop {
        let wanted = local.read_newest(World::floating);
        let same = |addresses| written.as_ref().is_some_and(|written| Arc::ptr_eq(written, addresses));
        let outcome = match &wanted {
            Some(addresses) if !same(addresses) => write(&path, addresses),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            if !std::mem::replace(&mut failing, true) {
                tracing::warn!(file = %path.display(), %error, "can't write the addresses, trying again");
            }
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        failing = false;
        written = wanted.or(written);
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// Replaces the file in one step, so that no reader sees a part of it.
fn write(path: &Path, addresses: &BTreeSet<IpAddr>) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(addresses)?)?;
    fs::rename(new, path)
}
