//! A limit of processor time for a process under test: [`ProcessorShare`], a cgroup with a CPU quota.
//!
//! It is created at the top of the hierarchy with the `cpu` controller, of version 1 or 2, which needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cgroup::{remove, sweep};
use crate::wait::wait_until;

/// Distinguishes the cgroups of one test process.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Prefix of every such cgroup, followed by its creator's pid.
const PREFIX: &str = "portreeve-share-";
/// The period of the quota, in microseconds.
const PERIOD_US: u32 = 100_000;
/// How long the last process may take to leave.
const LEAVING: Duration = Duration::from_secs(5);

/// A cgroup with a limit of processor time. Drop it after its processes.
#[derive(Debug)]
pub struct ProcessorShare {
    directory: PathBuf,
    version: Version,
}

/// The version of the hierarchy, which determines the names of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

// === impl ProcessorShare ===

impl ProcessorShare {
    /// Creates a cgroup without a limit and without processes.
    ///
    /// # Errors
    /// Returns an error if no hierarchy with the `cpu` controller is writable.
    pub fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let (top, version) = mounts
            .lines()
            .find_map(hierarchy)
            .context("no cgroup hierarchy with the cpu controller is mounted: mount /sys/fs/cgroup")?;
        sweep(&top, PREFIX);
        if version == Version::Two {
            let control = top.join("cgroup.subtree_control");
            fs::write(&control, "+cpu")
                .with_context(|| format!("{}: run the tests as root of the machine", control.display()))?;
        }
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = top.join(name);
        fs::create_dir(&directory)
            .with_context(|| format!("{}: run the tests as root of the machine", directory.display()))?;
        Ok(Self { directory, version })
    }

    /// Moves a process with all its threads into the cgroup.
    ///
    /// # Errors
    /// Returns an error if there is no such process.
    pub fn hold(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Limits all processes in the cgroup together to this percentage of one processor.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn limit(&self, percent: u32) -> Result<()> {
        let quota = PERIOD_US / 100 * percent;
        match self.version {
            Version::One => {
                self.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
                self.write("cpu.cfs_quota_us", &quota.to_string())
            }
            Version::Two => self.write("cpu.max", &format!("{quota} {PERIOD_US}")),
        }
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.directory.join(file);
        fs::write(&path, text).with_context(|| format!("writing {text:?} to {}", path.display()))
    }
}

impl Drop for ProcessorShare {
    fn drop(&mut self) {
        if let Err(error) = wait_until("an empty cgroup", LEAVING, || remove(&self.directory)) {
            eprintln!("{error:#}: {} stays, until a later test finds it", self.directory.display());
        }
    }
}

/// Returns the mount point in a line of `mountinfo` if it is a hierarchy with the `cpu` controller.
fn hierarchy(mount: &str) -> Option<(PathBuf, Version)> {
    let (place, kind) = mount.split_once(" - ")?;
    let point = PathBuf::from(place.split(' ').nth(4)?);
    let mut kind = kind.split(' ');
    let (name, options) = (kind.next()?, kind.nth(1)?);
    match name {
        "cgroup" if options.split(',').any(|option| option == "cpu") => Some((point, Version::One)),
        "cgroup2" if controllers(&point).split_whitespace().any(|name| name == "cpu") => {
            Some((point, Version::Two))
        }
        _ => None,
    }
}

fn controllers(top: &Path) -> String {
    fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;
    use crate::process::Process;

    #[test]
    fn hierarchy_with_the_controller_is_found_by_its_mount() {
        let found = |rest: &str| hierarchy(&format!("40 31 0:37 / /sys/x rw,relatime - {rest}"));
        assert_eq!(found("cgroup cgroup rw,cpu,cpuacct"), Some(("/sys/x".into(), Version::One)));
        assert_eq!(found("cgroup cgroup rw,cpuset"), None);
        assert_eq!(found("cgroup2 cgroup2 rw"), None, "it has no controllers there");
        assert_eq!(found("tmpfs tmpfs rw,cpu"), None);
    }

    #[test]
    fn process_inside_gets_its_share_and_no_more() {
        let share = ProcessorShare::new().unwrap();
        let process = Process::spawn("busy", Command::new("sh").args(["-c", "while :; do :; done"])).unwrap();
        share.limit(10).unwrap();
        share.hold(process.pid()).unwrap();
        let (begun, before) = (Instant::now(), process.usage().unwrap().cpu);
        let used = || process.usage().unwrap().cpu - before;
        wait_until("some work", Duration::from_secs(60), || used() >= Duration::from_millis(200)).unwrap();
        let busy = used().as_secs_f64() / begun.elapsed().as_secs_f64();
        assert!(busy < 0.15, "{busy:.2} of a processor");
        let directory = share.directory.clone();
        drop((process, share));
        assert!(!directory.exists());
    }
}
