//! The files underneath: a small trait, so that a test can lose what was not synced, and the real directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt as _, MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::record;
use crate::turn;

/// Marks a file that is being written; what bears it at a start is left from a crash.
pub const TEMPORARY: &str = ".tmp";

/// One flat directory of small files. Nothing lasts before it is synced: contents by [`Disk::sync`], names by
/// [`Disk::sync_names`].
pub trait Disk: Send + 'static {
    /// The names of all files.
    ///
    /// # Errors
    /// What the system says.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// A file's bytes.
    ///
    /// # Errors
    /// What the system says, or that it is longer than any file of the store.
    fn read(&mut self, name: &str) -> io::Result<Vec<u8>>;

    /// Makes a file that is not there yet.
    ///
    /// # Errors
    /// What the system says.
    fn create(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes the contents of files last.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self, names: &[String]) -> io::Result<()>;

    /// Gives a file another name, in place of whatever had it.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; one that is not there is removed.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes names last: what was created, renamed and removed.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&mut self) -> io::Result<()>;
}

/// A directory of the file system, readable by the agent's user alone: secrets may be in it.
pub struct Directory {
    path: PathBuf,
    /// The socket of the agent whose turn it was when this began, which is the one that this is for; none: nobody takes turns here.
    turn: Option<u64>,
}

/// More files than this are synced together with their file system: one commit instead of one for each.
const SYNC_TOGETHER: usize = 16;

// === impl Directory ===

impl Directory {
    /// The directory at `path`, which is made when it is needed.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        Self { turn: socket_in(&path), path }
    }

    /// That no other agent has taken this one's turn, which an agent that was stopped meanwhile can't have noticed: what it still had
    /// to write is older than what is there.
    ///
    /// # Errors
    /// Another has: [`io::ErrorKind::ResourceBusy`].
    fn is_ours(&self) -> io::Result<()> {
        match (self.turn, socket_in(&self.path)) {
            (Some(turn), Some(now)) if now != turn => Err(io::ErrorKind::ResourceBusy.into()),
            _ => Ok(()),
        }
    }

    fn open_new(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path.join(name))
    }

    fn make(&self, with_parents: bool) -> io::Result<()> {
        DirBuilder::new().recursive(with_parents).mode(0o700).create(&self.path)
    }
}

/// The number of the socket by which agents take turns, which is another's as soon as another has the turn: an agent keeps its own
/// open until it has been asked.
fn socket_in(directory: &Path) -> Option<u64> {
    Some(fs::symlink_metadata(directory.join(turn::SOCKET)).ok()?.ino())
}

impl Disk for Directory {
    fn list(&mut self) -> io::Result<Vec<String>> {
        self.make(true)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // The agents' own, by which they take turns.
            if !entry.file_type()?.is_socket() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path.join(name))?.take(record::LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > record::LONGEST {
            return Err(io::Error::other("longer than any file of the store"));
        }
        Ok(bytes)
    }

    fn create(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.is_ours()?;
        let made = match self.open_new(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make(false)?;
                self.open_new(name)
            }
            made => made,
        };
        made?.write_all(bytes)
    }

    fn sync(&mut self, names: &[String]) -> io::Result<()> {
        if names.len() > SYNC_TOGETHER {
            return Ok(nix::unistd::syncfs(File::open(&self.path)?)?);
        }
        names.iter().try_for_each(|name| File::open(self.path.join(name))?.sync_data())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.is_ours()?;
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if !name.ends_with(TEMPORARY) {
            self.is_ours()?;
        }
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}
