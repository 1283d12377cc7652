//! Processes that outlive their parent on purpose: keepers and their Envoys. Entry point: [`Family`].
//!
//! Every descendant inherits a mark in its environment, detached or not. A guard process waits for the end of the
//! family or of the test, and then kills all processes with the mark.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::guard::Guard;

/// The variable that carries the mark.
const VARIABLE: &str = "PORTREEVE_TEST_FAMILY";
/// Distinguishes the families of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// A shell script that kills until no member is left, because a member may fork during the search.
const KILL: &str = r#"
for pass in 1 2 3 4 5 6 7 8 9 10; do
    found=
    for file in /proc/[0-9]*/environ; do
        if grep -qszxF "$1" "$file"; then
            pid=${file#/proc/}
            kill -9 "${pid%/environ}"
            found=1
        fi
    done
    [ "$found" ] || exit 0
done
"#;

/// All processes started from commands of this family, and their descendants. Dropping it returns when all
/// of them are killed.
pub struct Family {
    /// The mark of this family.
    mark: String,
    _guard: Guard,
}

// === impl Family ===

impl Family {
    /// Creates an empty family with its guard.
    ///
    /// # Errors
    /// Returns an error if the guard can't be started.
    pub fn new() -> Result<Self> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let mark = format!("{}-{time}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let guard = Guard::start(KILL, &format!("{VARIABLE}={mark}"))?;
        Ok(Self { mark, _guard: guard })
    }

    /// Sets the mark on the processes that `command` will start.
    pub fn mark(&self, command: &mut Command) {
        command.env(VARIABLE, &self.mark);
    }

    /// Returns the pids of the living members, lowest first.
    pub fn members(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut found: Vec<u32> = numbers.filter(|pid| self.is_marked(*pid)).collect();
        found.sort_unstable();
        found
    }

    /// Returns the members whose command line contains `text`, for example `--base-id` or a configuration's path.
    pub fn members_with(&self, text: &str) -> Vec<u32> {
        let mut found = self.members();
        found.retain(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
        });
        found
    }

    /// Returns whether a process has the mark. A process that has ended has no environment.
    fn is_marked(&self, pid: u32) -> bool {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let wanted = format!("{VARIABLE}={}", self.mark);
        environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;
    use crate::wait::wait_until;
    use std::time::Duration;

    #[test]
    fn a_detached_grandchild_goes_with_the_family() {
        let family = Family::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "setsid sleep 1234 & exit 0"]);
        family.mark(&mut command);
        let mut parent = Process::spawn("parent", &command).unwrap();
        parent.wait_exit(Duration::from_secs(10)).unwrap();
        wait_until("the sleeper", Duration::from_secs(10), || family.members_with("sleep 1234").len() == 1)
            .unwrap();
        let sleeper = family.members()[0];
        drop(family);
        let state = std::fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z"), "still there: {state}");
    }

    #[test]
    fn families_are_apart() {
        let (one, two) = (Family::new().unwrap(), Family::new().unwrap());
        let mut command = Command::new("sleep");
        command.arg("60");
        one.mark(&mut command);
        let mut sleeper = Process::spawn("sleeper", &command).unwrap();
        wait_until("the sleeper", Duration::from_secs(10), || one.members() == [sleeper.pid()]).unwrap();
        drop(two);
        assert!(sleeper.is_running());
    }
}
