//! One file of manifests, looked at again and again: it is read when it has been quiet, and what can't be read changes nothing.
//! Entry point: [`Source::look`].

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_128;

use super::document::{Parsed, parse};
use super::text::is_blank;

/// How long a file must have stood still before it is read: whoever writes one may pause.
pub(super) const QUIET_MS: i64 = 300;

/// Bytes of a file at most.
const MAX_BYTES: u64 = 64 << 20;

/// What a look at a file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is as it was taken, or was taken now, or can't be read.
    Settled,
    /// It is changing.
    Restless,
    /// There is no such file.
    Absent,
}

/// A file's content by its hash, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    hash: u128,
    modified: Option<SystemTime>,
}

/// A file, what was last taken from it, and why that may not be all.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// What was taken last, and is in force.
    pub(super) parsed: Parsed,
    /// Why the file's present content is not in force.
    pub(super) trouble: Option<String>,
    taken: Option<u128>,
    /// A content that differs from what was taken, and since when it has stood there.
    pending: Option<(Stamp, i64)>,
}

// === impl Source ===

impl Source {
    /// Reads the file, and takes it if it differs and was quiet; at once if it `must` be taken.
    pub(super) fn look(&mut self, path: &Path, now_ms: i64, must: bool) -> Look {
        let (bytes, modified) = match read(path) {
            Ok(found) => found,
            // Gone, unless it is a link that leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
                return Look::Absent;
            }
            Err(error) => {
                self.pending = None;
                // When it is back it is read anew.
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
        // A clock that was set back begins the wait anew.
        if self.pending.is_none_or(|(old, since)| old != stamp || now_ms < since) {
            self.pending = Some((stamp, now_ms));
        }
        Look::Restless
    }

    fn take(&mut self, bytes: &[u8]) {
        if is_blank(bytes) {
            // Nobody means to say that with an empty file: it is being written, or its writer failed.
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
    // After the content: a change in between shows at the next look.
    Ok((bytes, fs::metadata(path)?.modified().ok()))
}
