//! Finds the processes that hold sockets, from `/proc/<pid>/fd`. Entry point: [`holders`].

use std::collections::{HashMap, HashSet};
use std::fs;

use portreeve_keeper::held::sockets_of;

/// Returns the process that holds each of these sockets, if it can be determined. The processes in `first` are
/// inspected before all others, so that a socket shared with a child counts as theirs. Only root can see the files of
/// another user's process.
pub(super) fn holders(mut wanted: HashSet<u32>, first: &[u32]) -> HashMap<u32, u32> {
    let mut found = HashMap::new();
    for pid in first.iter().copied() {
        look(pid, &mut wanted, &mut found);
    }
    if wanted.is_empty() {
        return found;
    }
    let others = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    for pid in others.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        look(pid, &mut wanted, &mut found);
    }
    found
}

/// Moves the sockets that this process holds from `wanted` to `found`.
fn look(pid: u32, wanted: &mut HashSet<u32>, found: &mut HashMap<u32, u32>) {
    if wanted.is_empty() {
        return;
    }
    // A process that can't be inspected has no known sockets.
    let sockets = sockets_of(pid).unwrap_or_default();
    found.extend(sockets.into_iter().filter(|inode| wanted.remove(inode)).map(|inode| (inode, pid)));
}

/// Describes a process for people: its pid and, if readable, its name.
pub(crate) fn title(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn holder_of_a_socket_is_found_and_of_a_closed_one_nobody() {
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = |socket: &UdpSocket| {
            u32::try_from(nix::sys::stat::fstat(socket.as_fd()).unwrap().st_ino).unwrap()
        };
        let own = std::process::id();
        for first in [&[own][..], &[]] {
            let found = holders(HashSet::from([inode(&held), u32::MAX]), first);
            assert_eq!(found, HashMap::from([(inode(&held), own)]));
        }
        assert!(title(own).starts_with(&format!("process {own} (")));
    }
}
