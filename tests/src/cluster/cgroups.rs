//! The cgroups of a node: one in every hierarchy of the machine, which the node sees as the root ([`Cgroups`]).
//!
//! The machine may have version 1 (with or without the unified hierarchy) or version 2 alone. In version 2, a cgroup
//! with processes can't delegate controllers, so the node's first processes move to a cgroup below it, `init`. A cgroup
//! that delegates controllers accepts no processes, so a node gets new cgroups whenever it is switched on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cgroup::{remove, sweep};
use crate::wait::wait_until;

/// Distinguishes the nodes of one test process.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Prefix of every node's cgroups, followed by their creator's pid.
const PREFIX: &str = "portreeve-node-";
/// The controllers that limit containers.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
/// How long the last process of a node may take to leave the cgroups.
const LEAVING: Duration = Duration::from_secs(10);
/// A shell command that enters the cgroups, makes them the visible roots, and enters the cgroups below. The arguments
/// before `--` are the roots.
const ENTER: &str = r#"for root in "$@"; do [ "$root" = -- ] && break; echo $$ >"$root/cgroup.procs" || { echo "can not enter $root" >&2; exit 125; }; done
exec unshare --cgroup sh -c '
while [ "$1" != -- ]; do echo $$ >"$1/init/cgroup.procs" || exit 125; shift; done; shift; exec "$@"' sh "$@""#;

/// The hierarchies that a node sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The machine's hierarchies.
    Machine,
    /// Only version 2, even if the machine also has version 1. Containers have their own cgroup namespaces, as on most
    /// current machines. If the machine's controllers are in version 1, containers have no limits.
    Unified,
}

/// The cgroups of a node. They are removed on drop.
#[derive(Debug)]
pub(super) struct Cgroups {
    /// One cgroup per hierarchy.
    roots: Vec<PathBuf>,
    /// The root that contains the containers' cgroups.
    counted: PathBuf,
}

// === impl Cgroups ===

impl Cgroups {
    /// Creates cgroups at the top of every hierarchy.
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

    /// Delegates the controllers to the cgroups below. The node's first processes must already be in `init`.
    pub(super) fn delegate(&self) {
        self.roots.iter().for_each(|root| hand_on(root));
    }

    /// Adds arguments to a command so that its program runs in these cgroups, in its own cgroup namespace.
    pub(super) fn enter(&self, command: &mut Command) {
        command.args(["sh", "-c", ENTER, "sh"]).args(&self.roots).arg("--");
    }

    /// Returns the processes in the cgroups, by their pids on the machine, each with its cgroup.
    pub(super) fn processes(&self) -> Vec<(u32, PathBuf)> {
        let mut found = Vec::new();
        collect(&self.counted, &mut found);
        found
    }

    /// Returns the memory of the node's processes in bytes, without file pages if the machine counts them separately.
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

/// Returns whether a node with this view has the controllers with which a kubelet sets limits.
pub(super) fn limits(view: View) -> Result<bool> {
    let hierarchies = hierarchies(&fs::read_to_string("/proc/self/mountinfo")?);
    let Some(counted) = counted(&hierarchies, view) else { return Ok(false) };
    let controllers = fs::read_to_string(counted.join("cgroup.controllers"));
    Ok(controllers.map_or(true, |there| ["cpu", "memory", "pids"].iter().all(|name| there.contains(name))))
}

/// Returns the hierarchy that identifies a node's containers. Every process is in every hierarchy; the runtime assigns
/// a container's processes only in some.
fn counted(hierarchies: &[PathBuf], view: View) -> Option<&PathBuf> {
    let unified = || hierarchies.iter().find(|path| path.join("cgroup.controllers").exists());
    let limiting = || hierarchies.iter().find(|path| path.ends_with("pids"));
    match view {
        View::Machine => limiting().or_else(unified),
        View::Unified => unified(),
    }
}

/// Returns the mount points of all hierarchies.
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let point = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup").then(|| place.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().filter_map(point).collect()
}

/// In version 1, a new cgroup has no processors, and can't hold processes until they are set.
fn name_processors(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), child.join(file));
        if from.exists() && !parent.join("cgroup.controllers").exists() {
            fs::write(&to, fs::read(from)?).with_context(|| to.display().to_string())?;
        }
    }
    Ok(())
}

/// In version 2, the cgroups below have only the controllers that are enabled for them.
fn hand_on(cgroup: &Path) {
    let there = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    for controller in there.split_whitespace().filter(|name| CONTROLLERS.contains(name)) {
        // Each controller separately. If one is missing, the kubelet reports it.
        let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Collects the processes of a cgroup and of all cgroups below it.
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
