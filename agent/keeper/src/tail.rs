//! Copies Envoy's log to the log of the pod whose first process is the keeper. [`Tail`].

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

/// Maximum number of bytes copied at a time.
const MOST: u64 = 64 * 1024;

/// The end of a file that grows, and is truncated now and then.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    told: u64,
}

// === impl Tail ===

impl Tail {
    /// Creates a tail that starts at the current end of the file.
    pub(super) fn from_end_of(path: PathBuf) -> Self {
        let told = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self { path, told }
    }

    /// Writes all new complete lines.
    pub(super) fn tell(&mut self, to: &mut impl Write) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if file.metadata()?.len() < self.told {
            self.told = 0;
        }
        file.seek(SeekFrom::Start(self.told))?;
        let mut news = Vec::new();
        file.take(MOST).read_to_end(&mut news)?;
        let end = news.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // A line longer than the maximum is written in parts.
        let end = if end == 0 && news.len() as u64 == MOST { news.len() } else { end };
        to.write_all(&news[..end])?;
        self.told += end as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::{Tail, fs};

    #[test]
    fn whole_lines_are_told_once_also_of_a_file_that_was_emptied() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        let mut tail = Tail::from_end_of(path.clone());
        let mut told = || {
            let mut out = Vec::new();
            tail.tell(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(told(), "", "no file yet");
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!((told(), told()), ("one\n".to_owned(), String::new()));
        file.write_all(b"o\n").unwrap();
        assert_eq!(told(), "two\n");
        fs::write(&path, "new\n").unwrap();
        assert_eq!(told(), "new\n");
    }
}
