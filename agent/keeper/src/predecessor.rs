//! Waits for the leftovers of a killed keeper: an Envoy that the kernel is still ending. Two Envoys would silently
//! share their ports.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::handle::Handle;
use crate::state::{Note, Process, State};

/// How long the kernel may take to end the old Envoy before it is killed again.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(5);

/// Waits until the Envoys in `note` have ended, and kills them if they don't.
pub(super) async fn gone(note: &Note<State>) {
    let State { envoy_pid, envoy_ticks, .. } = &note.state;
    let envoy = envoy_pid.zip(*envoy_ticks).map(|(pid, ticks)| Process { pid, ticks });
    for process in envoy.into_iter().chain(note.heir) {
        ended(process).await;
    }
}

async fn ended(Process { pid, ticks }: Process) {
    let mut deadline = Instant::now() + PATIENCE;
    while start_ticks(pid) == Some(ticks) {
        if Instant::now() >= deadline {
            tracing::error!(pid, "an Envoy outlived its keeper; killing it");
            let handle = Handle::of(pid, |pid| start_ticks(pid) == Some(ticks));
            let killed = handle.map(|handle| handle.map(|handle| handle.signal(Signal::KILL)));
            tracing::debug!(?killed, "killed");
            deadline += PATIENCE;
        }
        sleep(STEP).await;
    }
}

/// Returns the start time of the process `pid`, in the kernel's ticks since boot; `None` if there is no such process or
/// it is a zombie.
pub fn start_ticks(pid: u32) -> Option<u64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Returns the parent of the process `pid`; `None` if there is no such process.
pub fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Parses `pid (comm) state ppid … starttime …`. The field comm may contain spaces and brackets.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let ticks = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(ticks)
}

#[cfg(test)]
mod tests {
    use super::{parse_stat, start_ticks};

    #[test]
    fn start_is_found_behind_an_evil_name_and_not_for_a_zombie() {
        let tail = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(parse_stat(&format!("7 (a) Z (b) S {tail}")), Some(4711));
        assert_eq!(parse_stat(&format!("7 (envoy) Z {tail}")), None);
        assert_eq!(parse_stat("7 (envoy) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn living_process_has_a_start() {
        assert!(start_ticks(std::process::id()).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_ticks(u32::MAX), None);
    }
}
