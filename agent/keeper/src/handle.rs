//! A handle of a process. A pid may be reused by another process, a handle never is.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process (a pidfd), valid also after its end.
#[derive(Debug)]
pub struct Handle(OwnedFd);

// === impl Handle ===

impl Handle {
    /// Opens a handle of the process with this pid. Returns `None` if `is_it` rejects the process after the handle was
    /// opened.
    ///
    /// # Errors
    /// Returns an error if there is no such process, or the kernel is older than 5.3.
    pub fn of(pid: u32, is_it: impl FnOnce(u32) -> bool) -> io::Result<Option<Self>> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let handle = Self(pidfd_open(number, PidfdFlags::empty())?);
        // The order matters: the pid can't be reused while the handle is open, and an ended process ignores signals.
        Ok(is_it(pid).then_some(handle))
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// Returns an error if the process has ended, or belongs to another user.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, signal)?)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::Signal;

    use super::Handle;

    #[test]
    fn signal_reaches_the_process_and_nobody_after_its_end() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let handle = Handle::of(child.id(), |_| true).unwrap().unwrap();
        handle.signal(Signal::TERM).unwrap();
        child.wait().unwrap();
        assert!(handle.signal(Signal::TERM).is_err());
    }

    #[test]
    fn process_that_is_not_the_one_meant_has_no_handle() {
        assert!(Handle::of(std::process::id(), |_| false).unwrap().is_none());
        assert!(Handle::of(0, |_| true).is_err() && Handle::of(u32::MAX, |_| true).is_err());
    }
}
