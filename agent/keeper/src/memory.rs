//! The memory cgroup that a keeper shares with its Envoy: its limit, and whether the kernel killed a process in it.
//! [`Memory`].
//!
//! A process that the kernel kills for lack of memory ends by SIGKILL like any other. Only the cgroup's counter shows
//! the reason.

use std::fs;
use std::path::{Path, PathBuf};

/// In version 1, a larger value means "no limit": it is the largest number of whole pages.
const UNLIMITED: u64 = 1 << 60;

/// A memory cgroup, with the number of its kills seen so far.
#[derive(Debug)]
pub struct Memory {
    limit: PathBuf,
    events: PathBuf,
    seen: u64,
}

// === impl Memory ===

impl Memory {
    /// This process's memory cgroup; `None` without a memory controller or in the root cgroup.
    pub fn own() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        directories(&mounts, &own).iter().find_map(|directory| Self::at(directory))
    }

    /// Returns the cgroup whose files are in `directory`, of either version.
    pub fn at(directory: &Path) -> Option<Self> {
        let versions = [("memory.max", "memory.events"), ("memory.limit_in_bytes", "memory.oom_control")];
        let files = versions.map(|(limit, events)| (directory.join(limit), directory.join(events)));
        let (limit, events) = files.into_iter().find(|(limit, events)| limit.exists() && events.exists())?;
        let mut memory = Self { limit, events, seen: 0 };
        memory.seen = memory.kills();
        Some(memory)
    }

    /// Returns the limit in bytes.
    pub fn limit(&self) -> Option<u64> {
        // "max" is not a number.
        let limit = fs::read_to_string(&self.limit).ok()?.trim().parse().ok()?;
        (limit < UNLIMITED).then_some(limit)
    }

    /// Returns whether the kernel killed a process for lack of memory since the last call.
    pub fn killed(&mut self) -> bool {
        let now = self.kills();
        now > std::mem::replace(&mut self.seen, now)
    }

    /// Reads `oom_kill 3`, in both versions.
    fn kills(&self) -> u64 {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
    }
}

/// Returns the possible directories of a process's memory cgroup, from its `cgroup` lines and mounts.
pub fn directories(mountinfo: &str, own: &str) -> Vec<PathBuf> {
    mountinfo.lines().filter_map(|line| directory(line, own)).collect()
}

/// Parses `40 31 0:37 <root> <mount point> <options> - cgroup <source> rw,memory`. A container sees only its part of a
/// hierarchy; then the mount's root is a prefix of the path.
fn directory(mount: &str, own: &str) -> Option<PathBuf> {
    let (place, kind) = mount.split_once(" - ")?;
    let (name, options) = (kind.split(' ').next()?, kind.split(' ').nth(2)?);
    let wanted = match name {
        "cgroup2" => "",
        "cgroup" if options.split(',').any(|option| option == "memory") => "memory",
        _ => return None,
    };
    let (root, point) = (place.split(' ').nth(3)?, place.split(' ').nth(4)?);
    let mut hierarchies = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let (_, path) = hierarchies.find(|(controllers, _)| controllers.split(',').any(|c| c == wanted))?;
    let within = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
    Some(Path::new(point).join(within))
}

#[cfg(test)]
mod tests {
    use super::{Memory, directories};
    use std::fs;
    use std::path::PathBuf;

    #[test]
    fn the_cgroup_is_found_on_hosts_and_in_containers_of_both_versions() {
        for (mount, own, expected) in [
            (
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
                "4:memory:/a/b\n0::/c\n",
                "/sys/fs/cgroup/memory/a/b",
            ),
            ("41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "0::/a/b\n", "/sys/fs/cgroup/a/b"),
            ("41 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup ro", "0::/\n", "/sys/fs/cgroup/"),
            (
                "9 8 0:32 /kubepods/podx/c /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory",
                "4:memory:/kubepods/podx/c\n",
                "/sys/fs/cgroup/memory/",
            ),
        ] {
            assert_eq!(directories(mount, own), [PathBuf::from(expected)], "{mount}");
        }
        assert!(directories("35 31 0:32 / /sys/x rw - cgroup cgroup rw,pids\nbroken\n", "0::/\n").is_empty());
    }

    #[test]
    fn limits_and_kills_are_read_from_the_files_of_both_versions() {
        for (limit, events, counter) in [
            ("memory.max", "memory.events", "low 0\noom 5\noom_kill N\noom_group_kill 0\n"),
            ("memory.limit_in_bytes", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill N\n"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            assert!(Memory::at(dir.path()).is_none());
            let count = |kills: u64| {
                fs::write(dir.path().join(events), counter.replace('N', &kills.to_string())).unwrap();
            };
            count(3);
            fs::write(dir.path().join(limit), "8388608\n").unwrap();
            let mut memory = Memory::at(dir.path()).unwrap();
            assert_eq!((memory.limit(), memory.killed()), (Some(8_388_608), false));
            count(4);
            assert!(memory.killed());
            assert!(!memory.killed());
            for none in ["max\n", "9223372036854771712\n"] {
                fs::write(dir.path().join(limit), none).unwrap();
                assert_eq!(memory.limit(), None);
            }
        }
    }
}
