//! A problem with the store: [`Problem`].

use std::fmt;
use std::path::PathBuf;

/// A problem with the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the directory.
    pub file: PathBuf,
    /// The problem, its cause, and the remedy.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.text)
    }
}
