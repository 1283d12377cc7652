//! The last known good state on disk: the hub's resources, the node's pods, and the resources that each proxy
//! accepted, byte for byte. Entry point: [`open`].
//!
//! The store consists of small files with checksums, one per [`Key`], written in the background by a thread
//! ([`Saver`]). An embedded database is not used, because it would lock out the second agent during a surge
//! update. Each file is either complete or absent, and an unusable file loses only its own content.

use std::path::Path;

mod commit;
mod content;
mod disk;
mod key;
mod load;
mod problem;
mod record;
#[cfg(test)]
mod tests;
mod writer;

pub use content::{Content, Restored};
pub use key::Key;
pub use problem::Problem;
pub use writer::Saver;

use disk::{Directory, Disk};
use record::Flaw;

/// Reads a store and starts its writer. Problems are logged and listed by [`Saver::problems`].
///
/// # Errors
/// Returns an error if the thread can't be started. Missing or unusable files are not an error.
pub fn open(directory: &Path) -> std::io::Result<(Saver, Restored)> {
    open_on(Directory::new(directory), directory)
}

fn open_on(mut disk: impl Disk, place: &Path) -> std::io::Result<(Saver, Restored)> {
    let mut found = load::load(&mut disk, place);
    let mut restored = Restored::default();
    for (key, content) in &found.records {
        if restored.take(key, content).is_none() {
            let name = key.file();
            let text = format!("{}; it is passed over", Flaw::Unreadable);
            found.problems.push(Problem { file: place.join(&name), text });
            found.lost.insert(name);
        }
    }
    restored.lost = found.lost;
    for problem in &found.problems {
        tracing::warn!(%problem, "the store is not whole");
    }
    let saver = Saver::start(disk, place.to_owned(), &found.records, found.problems)?;
    Ok((saver, restored))
}
