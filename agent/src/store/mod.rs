//! The last known good on disk: what the hub sent, the node's pods, and the bytes that each proxy accepted. Entry
//! point: [`open`].
//!
//! Small checksummed files, one for each [`Key`], written behind by a thread of their own ([`Saver`]). No embedded
//! database: it would lock out the second agent of a surge update. Each file is whole or not there; a file that can't be
//! used costs what is in it and nothing else.

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

/// Reads a store and starts writing to it. What is wrong with it is logged, and told by [`Saver::problems`].
///
/// # Errors
/// The thread can't be started; never for what is, or is not, in the directory.
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
