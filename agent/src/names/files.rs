//! A file that is read again when it changes. Entry point: [`Watched`].

use std::fs::{Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a changed file must be unmodified before it is read. A half-written file would look as if names were gone.
pub const QUIET: Duration = Duration::from_millis(200);

/// Maximum number of bytes that are read from a file.
const LIMIT: u64 = 16 << 20;

/// A file's content, as last read.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    content: Vec<u8>,
    /// The version that was last read; `None` before the first.
    taken: Option<Stamp>,
    /// A changed version, and the time since when it is unmodified.
    changing: Option<(Stamp, Instant)>,
    /// The unreadable version that was last logged.
    told: Option<Stamp>,
}

/// Identifies a version of a file. Symbolic links are followed, so a new target is a change.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stamp {
    Missing,
    /// The file can't be inspected, for this reason.
    Unreadable(ErrorKind),
    /// Device, inode, size, and the change times of content and inode.
    File(u64, u64, u64, [(i64, i64); 2]),
}

// === impl Watched ===

impl Watched {
    /// Creates a file with empty content that hasn't been read yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, content: Vec::new(), taken: None, changing: None, told: None }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the content; empty if the file is missing.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Checks the file, and returns whether its content was read: immediately at the first call, later once a changed
    /// file has been unmodified for [`QUIET`]. A file that can't be read keeps its last content.
    pub fn look(&mut self, now: Instant) -> bool {
        let stamp = Stamp::of(&self.path);
        if self.taken.as_ref() == Some(&stamp) {
            self.changing = None;
            return false;
        }
        let since = match &self.changing {
            Some((seen, since)) if *seen == stamp => *since,
            _ => now,
        };
        if self.taken.is_some() && now - since < QUIET {
            self.changing = Some((stamp, since));
            return false;
        }
        self.changing = None;
        self.take(stamp)
    }

    /// Returns whether a change waits. Then the next check should come after [`QUIET`].
    pub fn is_changing(&self) -> bool {
        self.changing.is_some()
    }

    /// An unreadable file is tried again at each check, but logged once.
    fn take(&mut self, stamp: Stamp) -> bool {
        let content = match &stamp {
            Stamp::Missing => Ok(Vec::new()),
            Stamp::Unreadable(kind) => Err((*kind).into()),
            Stamp::File(..) => read(&self.path),
        };
        match content {
            Ok(content) => {
                self.content = content;
                (self.taken, self.told) = (Some(stamp), None);
                true
            }
            Err(error) => {
                if self.told.replace(stamp.clone()) != Some(stamp) {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "the file can't be read: its last content stays in force");
                }
                false
            }
        }
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(found) => Self::from(&found),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Self::Missing
            }
            Err(error) => Self::Unreadable(error.kind()),
        }
    }
}

impl From<&Metadata> for Stamp {
    fn from(found: &Metadata) -> Self {
        let times = [(found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())];
        Self::File(found.dev(), found.ino(), found.size(), times)
    }
}

/// Reads without waiting: a pipe without a writer is empty.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    let mut content = Vec::new();
    file.take(LIMIT).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Returns a folder, the path of a file in it, and the time of the first check.
    fn mk_file(content: Option<&str>) -> (tempfile::TempDir, Watched, Instant) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let (mut file, now) = (Watched::new(path), Instant::now());
        assert!(file.look(now), "the first look takes what is there");
        (dir, file, now)
    }

    /// Checks twice, with the time between in which a file must be unmodified.
    fn settled(file: &mut Watched, now: Instant) -> bool {
        !file.look(now) && file.is_changing() && file.look(now + QUIET)
    }

    #[test]
    fn each_kind_of_change_is_taken_once() {
        let (dir, mut file, now) = mk_file(Some("one"));
        assert!(!file.look(now + QUIET) && !file.is_changing());
        let path = dir.path().join("file");
        fs::write(&path, "second").unwrap();
        assert!(settled(&mut file, now) && file.content() == b"second");
        fs::write(dir.path().join("next"), "third!").unwrap();
        fs::rename(dir.path().join("next"), &path).unwrap();
        assert!(settled(&mut file, now) && file.content() == b"third!");
        fs::remove_file(&path).unwrap();
        assert!(settled(&mut file, now) && file.content() == b"");
        fs::write(&path, "back").unwrap();
        assert!(settled(&mut file, now) && file.content() == b"back");
        assert!(!file.look(now + 2 * QUIET) && !file.is_changing());
    }

    #[test]
    fn link_that_leads_elsewhere_is_a_change_of_the_file() {
        let (dir, mut file, now) = mk_file(None);
        let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
        fs::create_dir(&first).unwrap();
        fs::create_dir(&second).unwrap();
        fs::write(first.join("f"), "1").unwrap();
        fs::write(second.join("f"), "2").unwrap();
        // Like the kubelet: a link to a link that is replaced.
        let data = dir.path().join("data");
        symlink(&first, &data).unwrap();
        symlink(data.join("f"), dir.path().join("file")).unwrap();
        assert!(settled(&mut file, now) && file.content() == b"1");
        symlink(&second, dir.path().join("new")).unwrap();
        fs::rename(dir.path().join("new"), &data).unwrap();
        assert!(settled(&mut file, now) && file.content() == b"2");
    }

    #[test]
    fn file_that_is_being_written_is_taken_when_it_is_quiet() {
        let (dir, mut file, now) = mk_file(Some("whole"));
        let path = dir.path().join("file");
        for (step, content) in ["", "w", "wh"].iter().enumerate() {
            fs::write(&path, content).unwrap();
            let later = now + QUIET * u32::try_from(step).unwrap();
            assert!(!file.look(later), "{content:?} is taken");
            assert_eq!(file.content(), b"whole");
        }
    }

    #[test]
    fn what_is_no_file_is_empty_or_keeps_the_last_content_and_nothing_waits_for_it() {
        let (dir, mut file, now) = mk_file(Some("last"));
        let path = dir.path().join("file");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(!file.look(now) && !file.look(now + QUIET) && file.content() == b"last");
        fs::remove_dir(&path).unwrap();
        symlink(&path, &path).unwrap();
        assert!(!file.look(now) && !file.look(now + QUIET) && file.content() == b"last");
        fs::remove_file(&path).unwrap();
        symlink("/dev/null", &path).unwrap();
        assert!(settled(&mut file, now) && file.content() == b"");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(settled(&mut file, now) && file.content() == b"");
    }
}
