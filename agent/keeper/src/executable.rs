//! A program's file: whether it can be run, and whether it was replaced since ([`Stamp`]).

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Identifies a version of a file at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

/// Returns whether `path` is an executable regular file.
///
/// # Errors
/// Returns an error if the file doesn't exist or can't be inspected.
pub fn is_executable(path: &Path) -> io::Result<bool> {
    let metadata = fs::metadata(path)?;
    Ok(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

// === impl Stamp ===

impl Stamp {
    /// Returns the stamp of the file at `path`, if it exists.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            inode: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Stamp;

    #[test]
    fn replaced_file_has_another_stamp_and_the_same_file_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let [path, other] = ["envoy", "new"].map(|name| temp.path().join(name));
        fs::write(&path, "one").unwrap();
        let before = Stamp::of(&path);
        assert!(before.is_some() && before == Stamp::of(&path));
        fs::write(&other, "one").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(before, Stamp::of(&path));
        assert_eq!(Stamp::of(&other), None);
    }
}
