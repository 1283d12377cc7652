//! The store's file operations: a trait, so that tests can lose unsynced data, and the real directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt as _, MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::record;
use crate::turn;

/// Suffix of a file that is being written. Files with it at a start are left over from a crash.
pub const TEMPORARY: &str = ".tmp";

/// A flat directory of small files. Changes are durable only after a sync: contents by [`Disk::sync`], names
/// by [`Disk::sync_names`].
pub trait Disk: Send + 'static {
    /// Returns the names of all files.
    ///
    /// # Errors
    /// Returns the system's error.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// Returns a file's bytes.
    ///
    /// # Errors
    /// Returns the system's error, or an error if the file is longer than any file of the store.
    fn read(&mut self, name: &str) -> io::Result<Vec<u8>>;

    /// Creates a file; fails if it exists.
    ///
    /// # Errors
    /// Returns the system's error.
    fn create(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Syncs the contents of files.
    ///
    /// # Errors
    /// Returns the system's error.
    fn sync(&mut self, names: &[String]) -> io::Result<()>;

    /// Renames a file, replacing any file with the new name.
    ///
    /// # Errors
    /// Returns the system's error.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. A missing file is not an error.
    ///
    /// # Errors
    /// Returns the system's error.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Syncs the directory: created, renamed and removed names.
    ///
    /// # Errors
    /// Returns the system's error.
    fn sync_names(&mut self) -> io::Result<()>;
}

/// A directory that only the agent's user can read, because it may contain secrets.
pub struct Directory {
    path: PathBuf,
    /// The inode of the turn socket when this value was created, which identifies this agent's turn; `None`
    /// if there is no such socket.
    turn: Option<u64>,
}

/// If more files than this must be synced, their whole file system is synced: one commit instead of one per
/// file.
const SYNC_TOGETHER: usize = 16;

// === impl Directory ===

impl Directory {
    /// Returns the directory at `path`, which is created when it is first used.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        Self { turn: socket_in(&path), path }
    }

    /// Checks that no other agent has taken over the directory. An agent that was suspended meanwhile can't
    /// have noticed a takeover, and its pending writes are older than the files there.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::ResourceBusy`] if another agent has taken over.
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

/// Returns the inode of the socket by which agents take turns. It changes when another agent takes over. The
/// inode is not reused meanwhile, because an agent keeps its own socket open until it has been asked to hand
/// over.
fn socket_in(directory: &Path) -> Option<u64> {
    Some(fs::symlink_metadata(directory.join(turn::SOCKET)).ok()?.ino())
}

impl Disk for Directory {
    fn list(&mut self) -> io::Result<Vec<String>> {
        self.make(true)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // The agents' turn socket is not a file of the store.
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
