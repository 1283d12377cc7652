//! Which sockets this keeper's Envoys hold, from `/proc/<pid>/fd`, which the agent may not read. Entry points: `held`,
//! and [`sockets_of`].

use std::collections::HashSet;
use std::fs;
use std::io;

use rustix::thread::{capabilities, set_capabilities};

use crate::predecessor::{parent_of, start_ticks};

/// Returns those of `inodes` that a child of this process holds.
///
/// # Errors
/// Returns an error if a child's files can't be read. A child that has ended holds nothing.
pub(super) fn held(inodes: &[u32]) -> io::Result<Vec<u32>> {
    held_by(&children()?, inodes)
}

fn held_by(pids: &[u32], inodes: &[u32]) -> io::Result<Vec<u32>> {
    let mut wanted: HashSet<u32> = inodes.iter().copied().collect();
    let mut found = Vec::new();
    for pid in pids.iter().copied() {
        match with_all_rights(|| sockets_of(pid)) {
            Ok(sockets) => found.extend(sockets.into_iter().filter(|inode| wanted.remove(inode))),
            Err(_) if start_ticks(pid).is_none() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Returns the inodes of all sockets that a process holds.
///
/// # Errors
/// Returns an error if there is no such process or its files can't be read.
pub fn sockets_of(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for file in fs::read_dir(format!("/proc/{pid}/fd"))? {
        match fs::read_link(file?.path()) {
            Ok(target) => found.extend(target.to_str().and_then(inode)),
            // The file was closed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// `socket:[4711]`
fn inode(target: &str) -> Option<u32> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn children() -> io::Result<Vec<u32>> {
    let own = Some(std::process::id());
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter(|pid| parent_of(*pid) == own).collect())
}

/// Runs `work` with every permitted capability of this thread. The kernel shows a process's files only to a thread
/// whose effective capabilities include all permitted ones of that process, and Envoy has the one for ports below 1024.
fn with_all_rights<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = capabilities(None)?;
    let mut all = before;
    all.effective = before.permitted;
    set_capabilities(None, all)?;
    let done = work();
    set_capabilities(None, before)?;
    done
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;
    use std::process::{Command, Stdio};

    use super::{children, held_by};

    #[test]
    fn only_what_the_child_has_is_held_and_nothing_after_its_end() {
        let [given, own] = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let inode = |socket: &UdpSocket| {
            u32::try_from(nix::sys::stat::fstat(socket.as_fd()).unwrap().st_ino).unwrap()
        };
        let inodes = [inode(&given), inode(&own)];
        let input = given.as_fd().try_clone_to_owned().unwrap();
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::from(input)).spawn().unwrap();
        let pid = child.id();
        assert!(children().unwrap().contains(&pid));
        assert_eq!(held_by(&[pid], &inodes).unwrap(), [inodes[0]]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(held_by(&[pid], &inodes).unwrap(), [0; 0]);
    }
}
