//! One file of manifests that is read repeatedly: a changed file is read once it has been unmodified for a while, and a
//! file that can't be read changes nothing. Entry point: [`Source::look`].

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_128;

use super::document::{Parsed, parse};
use super::text::is_blank;

/// How long a file must be unmodified before it is read, in milliseconds, because a writer may pause.
pub(super) const QUIET_MS: i64 = 300;

/// Maximum size of a file, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// The state of a file after [`Source::look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The file is unchanged, was read now, or can't be read.
    Settled,
    /// The file is changing.
    Restless,
    /// The file doesn't exist.
    Absent,
}

/// The hash of a file's content, and its modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    hash: u128,
    modified: Option<SystemTime>,
}

/// A file, its content in use, and why that may differ from the current content.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The content in use.
    pub(super) parsed: Parsed,
    /// Why the file's current content is not in use.
    pub(super) trouble: Option<String>,
    taken: Option<u128>,
    /// A content that differs from the one in use, and the time since when it is unchanged.
    pending: Option<(Stamp, i64)>,
}

// === impl Source ===

impl Source {
    /// Reads the file, and uses its content if it changed and has been unmodified long enough. With `must`, uses it
    /// immediately.
    pub(super) fn look(&mut self, path: &Path, now_ms: i64, must: bool) -> Look {
        let (bytes, modified) = match read(path) {
            Ok(found) => found,
            // The file is gone, unless the path is a broken link.
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
                return Look::Absent;
            }
            Err(error) => {
                self.pending = None;
                // The file is read again when it comes back.
                self.taken = None;
                self.trouble = Some(format!("it can't be read: {error}"));
                return Look::Settled;
            }
        };
        let stamp = Stamp { hash: xxh3_128(&bytes), modified };
        if self.taken == Some(stamp.hash) {
            self.pending = None;
            return Look::Settled;
        }
        let quiet = self.pending.is_some_and(|(old, since)| old == stamp && now_ms - since >= QUIET_MS);
        if quiet || must {
            self.take(&bytes);
            (self.taken, self.pending) = (Some(stamp.hash), None);
            return Look::Settled;
        }
        // If the clock was set back, the wait starts again.
        if self.pending.is_none_or(|(old, since)| old != stamp || now_ms < since) {
            self.pending = Some((stamp, now_ms));
        }
        Look::Restless
    }

    fn take(&mut self, bytes: &[u8]) {
        if is_blank(bytes) {
            // An empty file is not taken as a deletion: it is probably being written, or its writer failed.
            self.trouble = Some("it is empty; remove the file to remove its objects".into());
            return;
        }
        match parse(bytes) {
            Ok(parsed) => (self.parsed, self.trouble) = (parsed, None),
            Err(error) => self.trouble = Some(error),
        }
    }
}

fn read(path: &Path) -> io::Result<(Vec<u8>, Option<SystemTime>)> {
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    // Read after the content: the next look then sees a change in between.
    Ok((bytes, fs::metadata(path)?.modified().ok()))
}
