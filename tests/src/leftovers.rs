//! A directory that is deleted when this process has ended, however it ends: for what static variables hold, which are
//! never dropped.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::guard::Guard;

/// Deletes until nothing is left: a process that writes there may be ending.
const DELETE: &str = r#"until rm -rf "$1"; do :; done"#;

/// The directory. Dropping it deletes it, and returns when all is deleted.
pub struct Leftovers {
    directory: PathBuf,
    _guard: Guard,
}

// === impl Leftovers ===

impl Leftovers {
    /// An empty directory and its guard.
    ///
    /// # Errors
    /// It can't be made, or the guard not be started.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("portreeve-tests-").tempdir()?.keep();
        let guard = Guard::start(DELETE, directory.to_str().context("a path that is no text")?)?;
        Ok(Self { directory, _guard: guard })
    }

    /// Where it is.
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
