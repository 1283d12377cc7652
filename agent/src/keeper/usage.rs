//! What a process uses. Entry point: [`of`].

use portreeve_runtime::process;

use super::state::Usage;

/// Of the process `pid`; none when there is none.
pub(super) fn of(pid: u32) -> Option<Usage> {
    process::look(pid, |found| Usage { resident: found.memory(), cpu_ms: found.accumulated_cpu_time() })
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
