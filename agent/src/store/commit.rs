//! Commits one batch of changes: new contents are written under temporary names, synced together, and
//! renamed. Entry point: [`commit`].
//!
//! After a crash at any point, each key has either its old or its new content. The watermark is written first
//! and the completeness mark last, see [`Key`].

use std::io;

use super::disk::{Disk, TEMPORARY};
use super::key::Key;
use super::record::{Parts, seal};

/// Number of files that are synced together. Bounds the memory and the number of temporary files.
const TOGETHER: usize = 64;

/// A key's new content; `None` deletes the key.
pub type Change = (Key, Option<Vec<u8>>);

/// Generates unique names for temporary files. Two agents may share a directory for a moment.
#[derive(Debug)]
pub struct Scribe {
    writer: u64,
    next: u64,
}

/// Writes all changes durably, in the order of their keys.
///
/// # Errors
/// Returns the file and the error. Any of the changes may have been made; all of them may be retried.
pub fn commit(disk: &mut impl Disk, scribe: &mut Scribe, mut changes: Vec<Change>) -> Result<(), Failure> {
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    // The watermark must be durable before the resources that it covers, and the completeness mark after
    // them.
    let first = changes.partition_point(|(key, _)| *key <= Key::Watermark);
    let last = changes.partition_point(|(key, _)| *key < Key::Complete);
    let (rest, complete) = changes.split_at(last);
    let (watermark, middle) = rest.split_at(first);
    for part in [watermark, middle, complete] {
        apply(disk, scribe, part)?;
    }
    Ok(())
}

/// A failed file operation.
#[derive(Debug)]
pub struct Failure {
    /// The file, if it is known.
    pub file: Option<String>,
    /// The system's error.
    pub error: io::Error,
}

fn apply(disk: &mut impl Disk, scribe: &mut Scribe, part: &[Change]) -> Result<(), Failure> {
    if part.is_empty() {
        return Ok(());
    }
    for (key, _) in part.iter().filter(|(_, content)| content.is_none()) {
        let file = key.file();
        disk.remove(&file).map_err(Failure::on(&file))?;
    }
    let written: Vec<&Change> = part.iter().filter(|(_, content)| content.is_some()).collect();
    for some in written.chunks(TOGETHER) {
        write(disk, scribe, some)?;
    }
    disk.sync_names().map_err(|error| Failure { file: None, error })
}

fn write(disk: &mut impl Disk, scribe: &mut Scribe, changes: &[&Change]) -> Result<(), Failure> {
    let mut temporary = Vec::new();
    let done = try_write(disk, scribe, changes, &mut temporary);
    if done.is_err() {
        // Files that can't be removed now are removed at the next start.
        temporary.iter().for_each(|name| disk.remove(name).unwrap_or_default());
    }
    done
}

fn try_write(
    disk: &mut impl Disk,
    scribe: &mut Scribe,
    changes: &[&Change],
    temporary: &mut Vec<String>,
) -> Result<(), Failure> {
    for (key, content) in changes {
        let bytes = seal(&Parts {
            kind: key.kind(),
            key: &key.text(),
            content: content.as_deref().unwrap_or_default(),
        });
        let name = scribe.name();
        temporary.push(name.clone());
        disk.create(&name, &bytes).map_err(Failure::on(&key.file()))?;
    }
    disk.sync(temporary).map_err(|error| Failure { file: None, error })?;
    for ((key, _), name) in changes.iter().zip(temporary.iter()) {
        disk.rename(name, &key.file()).map_err(Failure::on(&key.file()))?;
    }
    Ok(())
}

// === impl Scribe ===

impl Scribe {
    /// Creates a generator. `writer` must be unique among the writers of the directory.
    pub fn new(writer: u64) -> Self {
        Self { writer, next: 0 }
    }

    fn name(&mut self) -> String {
        self.next += 1;
        format!("{:016x}-{}{TEMPORARY}", self.writer, self.next)
    }
}

// === impl Failure ===

impl Failure {
    fn on(file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = Some(file.to_owned());
        |error| Self { file, error }
    }
}
