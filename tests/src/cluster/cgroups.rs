//! The cgroups of a node: one in every hierarchy of the machine, which the node sees as the root ([`Cgroups`]).
//!
//! The machine may have version 1 (with or without the unified hierarchy beside it) or version 2 alone. In version 2 a
//! cgroup with processes can't hand controllers on, so the node's first processes go on to one below, `init`; and one that
//! hands them on takes no process, so a node has new ones whenever it is switched on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cgroup::{remove, sweep};
use crate::wait::wait_until;

/// Tells the nodes of one test process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// What every node's cgroups are called, followed by the pid of their maker.
const PREFIX: &str = "portreeve-node-";
/// What containers are limited by.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
/// How long the last process of a node may take to leave them.
const LEAVING: Duration = Duration::from_secs(10);
/// Enters the cgroup, makes it the root of what is seen, and enters the one below. Arguments are the roots, before `--`.
const ENTER: &str = r#"for root in "$@"; do [ "$root" = -- ] && break; echo $$ >"$root/cgroup.procs" || { echo "can not enter $root" >&2; exit 125; }; done
exec unshare --cgroup sh -c '
while [ "$1" != -- ]; do echo $$ >"$1/init/cgroup.procs" || exit 125; shift; done; shift; exec "$@"' sh "$@""#;

/// Which hierarchies a node sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// What the machine has.
    Machine,
    /// Version 2 alone, also beside version 1. Its containers have cgroup namespaces of their own, as they have on most
    /// machines of today. Where the machine keeps the controllers in version 1 they have no limits.
    Unified,
}

/// A node's cgroups; removed when dropped.
#[derive(Debug)]
pub(super) struct Cgroups {
    /// One in each hierarchy.
    roots: Vec<PathBuf>,
    /// The one of them below which containers are.
    counted: PathBuf,
}

// === impl Cgroups ===

impl Cgroups {
    /// New ones, at the top of every hierarchy.
    pub(super) fn new(view: View) -> Result<Self> {
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let hierarchies = hierarchies(&fs::read_to_string("/proc/self/mountinfo")?);
        ensure!(!hierarchies.is_empty(), "no cgroups are mounted here: a node can't be had");
        let counted =
            counted(&hierarchies, view).with_context(|| format!("no hierarchy here for {view:?}"))?;
        let mut made = Self { roots: Vec::new(), counted: counted.join(&name) };
        for hierarchy in hierarchies {
            sweep(&hierarchy, PREFIX);
            let root = hierarchy.join(&name);
            let init = root.join("init");
            fs::create_dir_all(&init)
                .with_context(|| format!("{}: a node needs cgroups that can be written", root.display()))?;
            made.roots.push(root.clone());
            hand_on(&hierarchy);
            for (from, to) in [(&hierarchy, &root), (&root, &init)] {
                name_processors(from, to)?;
            }
        }
        Ok(made)
    }

    /// Lets what is below have the controllers. The node's first processes must be in `init` by now.
    pub(super) fn delegate(&self) {
        self.roots.iter().for_each(|root| hand_on(root));
    }

    /// Adds the words to a command that have what follows run inside, in a cgroup namespace of its own.
    pub(super) fn enter(&self, command: &mut Command) {
        command.args(["sh", "-c", ENTER, "sh"]).args(&self.roots).arg("--");
    }

    /// The processes inside, by the machine's numbers, each with its cgroup.
    pub(super) fn processes(&self) -> Vec<(u32, PathBuf)> {
        let mut found = Vec::new();
        collect(&self.counted, &mut found);
        found
    }

    /// Bytes of memory that the node's processes use: without pages of files, where the machine tells.
    pub(super) fn memory(&self) -> Option<u64> {
        let stats = self.roots.iter().find_map(|root| fs::read_to_string(root.join("memory.stat")).ok())?;
        let line = stats.lines().find(|line| line.starts_with("total_rss ") || line.starts_with("anon "))?;
        line.split(' ').nth(1)?.parse().ok()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let roots = &self.roots;
        let gone = wait_until("empty cgroups of a node", LEAVING, || roots.iter().all(|root| remove(root)));
        if let Err(error) = gone {
            eprintln!("{error:#}: {roots:?} stay, until a later test finds them");
        }
    }
}

/// Whether containers on a node with this view have the controllers that a kubelet sets limits with.
pub(super) fn limits(view: View) -> Result<bool> {
    let hierarchies = hierarchies(&fs::read_to_string("/proc/self/mountinfo")?);
    let Some(counted) = counted(&hierarchies, view) else { return Ok(false) };
    let controllers = fs::read_to_string(counted.join("cgroup.controllers"));
    Ok(controllers.map_or(true, |there| ["cpu", "memory", "pids"].iter().all(|name| there.contains(name))))
}

/// The hierarchy that tells a node's containers apart: every process is somewhere in every one, and a container's where
/// the runtime put it.
fn counted(hierarchies: &[PathBuf], view: View) -> Option<&PathBuf> {
    let unified = || hierarchies.iter().find(|path| path.join("cgroup.controllers").exists());
    let limiting = || hierarchies.iter().find(|path| path.ends_with("pids"));
    match view {
        View::Machine => limiting().or_else(unified),
        View::Unified => unified(),
    }
}

/// Where hierarchies are mounted.
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let point = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup").then(|| place.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().filter_map(point).collect()
}

/// Version 1: a new cgroup has no processors of its own accord, and so no room for a process.
fn name_processors(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), child.join(file));
        if from.exists() && !parent.join("cgroup.controllers").exists() {
            fs::write(&to, fs::read(from)?).with_context(|| to.display().to_string())?;
        }
    }
    Ok(())
}

/// Version 2: a cgroup's controllers are there for those below it only when that is said.
fn hand_on(cgroup: &Path) {
    let there = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    for controller in there.split_whitespace().filter(|name| CONTROLLERS.contains(name)) {
        // Each by itself: one that can't be had is missed by the kubelet alone, in words of its own.
        let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// The processes of a cgroup and of all below.
fn collect(directory: &Path, found: &mut Vec<(u32, PathBuf)>) {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let pids = text.lines().filter_map(|line| line.parse().ok());
    found.extend(pids.map(|pid| (pid, directory.to_owned())));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let expected = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        assert_eq!(hierarchies(mounts), expected);
    }
}
