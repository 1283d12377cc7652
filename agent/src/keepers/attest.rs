//! Who a process is, by the kernel's word: a keeper is whoever holds its directory's lock.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::keeper::dir::Dir;

/// Whether the process `pid` holds the keeper's lock of `dir`.
pub(super) fn holds_lock(pid: u32, dir: &Dir) -> bool {
    let Ok(inode) = fs::metadata(dir.lock_file()).map(|metadata| metadata.ino()) else { return false };
    fs::read_to_string("/proc/locks").is_ok_and(|locks| is_holder(&locks, pid, inode))
}

/// The parent of the process `pid`.
pub(super) fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`. The device is not compared: some file systems tell `stat` another one.
fn is_holder(proc_locks: &str, pid: u32, inode: u64) -> bool {
    proc_locks.lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", holder, file, ..] = fields[..] else { return false };
        let locked = file.rsplit_once(':').and_then(|(_, inode)| inode.parse().ok());
        holder.parse() == Ok(pid) && locked == Some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::{holds_lock, is_holder, parent_of};
    use crate::keeper::dir::Dir;

    const LOCKS: &str = "1: FLOCK  ADVISORY  READ 19461 fe:00:10 0 EOF\n\
                         2: FLOCK  ADVISORY  WRITE 13091 fe:00:20 0 EOF\n\
                         2: -> FLOCK  ADVISORY  WRITE 19461 fe:00:20 0 EOF\n\
                         3: POSIX  ADVISORY  WRITE 7 00:1a:30 0 EOF\n\
                         broken\n";

    #[test]
    fn only_the_writer_of_that_file_holds_its_lock() {
        for (pid, inode, expected) in [
            (13091, 20, true),
            (13091, 10, false),
            (19461, 10, false), // a reader
            (19461, 20, false), // waiting
            (7, 30, false),     // another kind of lock
        ] {
            assert_eq!(is_holder(LOCKS, pid, inode), expected, "{pid} {inode}");
        }
    }

    #[test]
    fn this_process_holds_the_lock_that_it_took() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path().to_owned());
        let me = std::process::id();
        assert!(!holds_lock(me, &dir));
        let _lock = dir.try_lock().unwrap().unwrap();
        assert!(holds_lock(me, &dir));
        assert!(!holds_lock(1, &dir));
        assert_eq!(parent_of(me), Some(std::os::unix::process::parent_id()));
    }
}
