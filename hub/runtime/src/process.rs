//! A process's resource usage, from the kernel. Entry point: [`look`].

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

/// Calls `look` with the memory and CPU time of the process `pid`. Returns `None` if there is no such process.
pub fn look<R>(pid: u32, look: impl FnOnce(&Process) -> R) -> Option<R> {
    let pid = Pid::from_u32(pid);
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    system.process(pid).map(look)
}
