//! Resource use of a process. Entry point: [`of`].

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::state::Usage;

/// Returns the resource use of the process `pid`; `None` if there is no such process.
pub(super) fn of(pid: u32) -> Option<Usage> {
    let pid = Pid::from_u32(pid);
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    let found = system.process(pid)?;
    Some(Usage { resident: found.memory(), cpu_ms: found.accumulated_cpu_time() })
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn this_process_uses_something_and_a_process_that_is_not_there_nothing() {
        let usage = of(std::process::id()).unwrap();
        assert!((1 << 20..1 << 33).contains(&usage.resident), "{usage:?}");
        assert_eq!(of(u32::MAX >> 1), None);
    }
}
