//! What is resident of a process, by kind. Entry point: [`resident`].
//!
//! `VmRSS` alone says little about a small process of a large program: most of it are pages of the program's file, which all
//! processes of the machine share, and around each page that is used the kernel maps 15 more that it has anyway.

use std::fmt;

use anyhow::{Context as _, Result};

/// Resident memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// Heap and stacks: what the process asked for itself.
    pub allocated: u64,
    /// Pages of the program and its libraries that belong to this process alone, because they were relocated or written.
    pub relocated: u64,
    /// Pages of the program and its libraries that processes share.
    pub file: u64,
    /// The process's share of all: each page divided by the number of processes that map it.
    pub proportional: u64,
}

// === impl Resident ===

impl Resident {
    /// Adds the mapping of this name and its lines in `smaps`.
    fn add(&mut self, name: &str, lines: &[&str]) {
        let figure = |field| lines.iter().find_map(|line| kib(line, field)).unwrap_or_default();
        let (resident, anonymous) = (figure("Rss:"), figure("Anonymous:"));
        if name.starts_with('/') {
            self.relocated += anonymous;
        } else {
            self.allocated += anonymous;
        }
        self.file += resident.saturating_sub(anonymous);
        self.proportional += figure("Pss:");
    }
}

impl fmt::Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allocated, relocated, file, proportional } = self;
        let anonymous = allocated + relocated;
        write!(
            f,
            "{} KiB resident: {anonymous} anonymous ({allocated} allocated, {relocated} relocated), {file} of files; \
             {proportional} proportional",
            anonymous + file
        )
    }
}

/// Returns what is resident of a process of this machine (`/proc/<pid>/smaps`).
///
/// # Errors
/// Returns an error if there is no such process, or this process may not trace it.
pub fn resident(pid: u32) -> Result<Resident> {
    let path = format!("/proc/{pid}/smaps");
    Ok(parse(&std::fs::read_to_string(&path).context(path)?))
}

fn parse(smaps: &str) -> Resident {
    let mut sum = Resident { allocated: 0, relocated: 0, file: 0, proportional: 0 };
    let lines: Vec<&str> = smaps.lines().collect();
    // A mapping begins with its addresses, and continues with fields.
    for mapping in lines.chunk_by(|_, next| is_field(next)) {
        let name = mapping[0].split_whitespace().nth(5).unwrap_or_default();
        sum.add(name, &mapping[1..]);
    }
    sum
}

fn is_field(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| word.ends_with(':'))
}

fn kib(line: &str, field: &str) -> Option<u64> {
    line.strip_prefix(field)?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
5500-5600 r-xp 00000000 fe:00 1 /bin/program
Rss:                 100 kB
Pss:                  25 kB
Anonymous:             0 kB
VmFlags: rd ex
5600-5700 r--p 00000000 fe:00 1 /bin/program
Rss:                  40 kB
Pss:                  34 kB
Anonymous:            30 kB
7ff0-7ff1 rw-p 00000000 00:00 0
Rss:                  20 kB
Pss:                  20 kB
Anonymous:            20 kB
7ff2-7ff3 rw-p 00000000 00:00 0 [heap]
Rss:                   7 kB
Pss:                   7 kB
Anonymous:             7 kB
";

    #[test]
    fn mappings_are_summed_by_kind() {
        let wanted = Resident { allocated: 27, relocated: 30, file: 110, proportional: 86 };
        assert_eq!(parse(SMAPS), wanted);
        let own = resident(std::process::id()).unwrap();
        assert!(own.allocated > 0 && own.file > 0, "{own}");
        assert!(resident(u32::MAX >> 1).is_err());
    }
}
