//! Inspects the process behind a connection, and detects when its pid was reused: [`witnessed`].
//!
//! A pid alone may already belong to another process when `/proc` is read. So the inspection happens between two
//! checks: the kernel's handle of the peer (SO_PEERPIDFD) is taken at accept, and the handle's process must still be
//! alive afterwards. Kernels before 6.5 have no such handles; there, the process's start time is compared before and
//! after.

use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portreeve_xds::Peer;

use portreeve_keeper::predecessor::start_ticks;

/// The reason why a peer can't be inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// The kernel reports no process that this one can see.
    #[error("a process of another pid namespace (in Kubernetes the agent's pod needs hostPID: true)")]
    Elsewhere,
    /// The process ended before the inspection was complete.
    #[error("a process that has ended")]
    Ended,
}

/// Returns the result of `look` for the peer's process, and guarantees that it was that process.
///
/// # Errors
/// Returns [`Unseen`]. Then the result of `look` is discarded.
pub fn witnessed<T>(peer: &Peer, look: impl FnOnce(u32) -> T) -> Result<T, Unseen> {
    let pid = peer.pid.ok_or(Unseen::Ended)?;
    let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0).ok_or(Unseen::Elsewhere)?;
    match &peer.pidfd {
        Some(handle) => {
            let found = look(pid);
            (!has_ended(handle.as_fd())).then_some(found).ok_or(Unseen::Ended)
        }
        None => {
            let before = start_ticks(pid).ok_or(Unseen::Ended)?;
            let found = look(pid);
            (start_ticks(pid) == Some(before)).then_some(found).ok_or(Unseen::Ended)
        }
    }
}

/// Returns whether the process has ended: a pidfd is readable from then on. An error counts as ended.
fn has_ended(handle: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(handle, PollFlags::POLLIN)];
    !matches!(poll(&mut asked, PollTimeout::ZERO), Ok(0))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;

    use nix::sys::socket::{getsockopt, sockopt};
    use portreeve_xds::Peer;

    use super::{Unseen, witnessed};

    const SOCKET: &str = "PORTREEVE_TEST_DIAL";

    /// Not a test: it runs as the child of [`dialled`], connects and stays.
    #[test]
    fn dialling_child() {
        let Some(socket) = env::var_os(SOCKET) else { return };
        let _stream = UnixStream::connect(socket).unwrap();
        // Runs until its input is closed.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    }

    /// Starts a child that connects. Returns the child and its peer information from the kernel.
    fn dialled(dir: &Path) -> (Child, Peer) {
        let socket = dir.join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "witness::tests::dialling_child", "--nocapture"])
            .env(SOCKET, &socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        let cred = getsockopt(&stream, sockopt::PeerCredentials).unwrap();
        let pidfd = getsockopt(&stream, sockopt::PeerPidfd).ok().map(Arc::new);
        (child, Peer { pid: Some(cred.pid()), pidfd, ..Peer::default() })
    }

    fn end(child: &mut Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn living_peer_is_looked_at_with_its_handle_and_without() {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, peer) = dialled(dir.path());
        let pid = child.id();
        assert_eq!(witnessed(&peer, |seen| seen), Ok(pid));
        assert_eq!(witnessed(&Peer { pidfd: None, ..peer }, |seen| seen), Ok(pid));
        end(&mut child);
    }

    #[test]
    fn what_was_read_while_the_peer_ended_is_thrown_away() {
        for handle in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (mut child, mut peer) = dialled(dir.path());
            peer.pidfd = peer.pidfd.filter(|_| handle);
            assert_eq!(witnessed(&peer, |_| end(&mut child)), Err(Unseen::Ended), "handle: {handle}");
        }
    }

    /// A peer has ended and another process has its pid. This test process plays the other process.
    #[test]
    fn reused_pid_does_not_pass_for_the_peer() {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, peer) = dialled(dir.path());
        if peer.pidfd.is_none() {
            eprintln!("this kernel has no SO_PEERPIDFD");
        }
        end(&mut child);
        let reused = Peer { pid: i32::try_from(std::process::id()).ok(), ..peer };
        let expected = if reused.pidfd.is_some() { Err(Unseen::Ended) } else { Ok(()) };
        assert_eq!(witnessed(&reused, |_| ()), expected);
    }

    #[test]
    fn peers_without_a_number_are_nobody() {
        let looked = |pid| witnessed(&Peer { pid, ..Peer::default() }, |_| ());
        assert_eq!(looked(Some(0)), Err(Unseen::Elsewhere));
        assert_eq!(looked(Some(-1)), Err(Unseen::Elsewhere));
        assert_eq!(looked(None), Err(Unseen::Ended));
        assert_eq!(looked(Some(i32::MAX)), Err(Unseen::Ended));
    }
}
