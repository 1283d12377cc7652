//! A directory that is deleted when this process ends, however it ends. It is for files of static variables, which are
//! never dropped.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::guard::Guard;

/// A shell script that deletes until nothing is left, because an ending process may still write.
const DELETE: &str = r#"until rm -rf "$1"; do :; done"#;

/// The directory. A drop waits until it is deleted.
pub struct Leftovers {
    directory: PathBuf,
    _guard: Guard,
}

// === impl Leftovers ===

impl Leftovers {
    /// Creates an empty directory and its guard.
    ///
    /// # Errors
    /// Returns an error if the directory can't be created or the guard can't be started.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("portreeve-tests-").tempdir()?.keep();
        let guard = Guard::start(DELETE, directory.to_str().context("a path that is no text")?)?;
        Ok(Self { directory, _guard: guard })
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        &self.directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_goes_with_all_that_is_in_it() {
        let leftovers = Leftovers::new().unwrap();
        let directory = leftovers.path().to_owned();
        std::fs::create_dir(directory.join("deep")).unwrap();
        std::fs::write(directory.join("deep/file"), "text").unwrap();
        drop(leftovers);
        assert!(!directory.exists());
    }
}
