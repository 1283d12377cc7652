//! What can be wrong with a store: [`Problem`].

use std::fmt;
use std::path::PathBuf;

/// Something that is wrong with the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the directory.
    pub file: PathBuf,
    /// What, why, and what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.text)
    }
}
