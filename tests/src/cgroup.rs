//! Real cgroups for the pods of a town, as a kubelet would create them: [`Cgroups`].
//!
//! They are created below the test's own cgroup: in the unified hierarchy, and in the hierarchies of version 1 that
//! don't limit existing processes (pids, systemd's), if these are writable. That needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Netns;
use crate::wait::wait_until;

/// Distinguishes the trees of one test process, and the containers of a pod.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Prefix of every tree's name, followed by its creator's pid.
const PREFIX: &str = "portreeve-test-";
/// How long the last process may take to leave a tree.
const LEAVING: Duration = Duration::from_secs(2);
/// A shell command that writes its pid to the files before `--`, and then executes the program after it.
const ENTER: &str = r#"until [ "$1" = -- ]; do echo $$ >"$1" || exit 125; shift; done; shift; exec "$@""#;

/// A tree of cgroups in every usable hierarchy. It is removed with the last container's handle.
#[derive(Debug, Clone)]
pub struct Cgroups {
    trees: Arc<Trees>,
}

/// The cgroup of one container.
#[derive(Debug, Clone)]
pub struct Container {
    directories: Vec<PathBuf>,
    _trees: Arc<Trees>,
}

#[derive(Debug)]
struct Trees {
    roots: Vec<PathBuf>,
}

// === impl Cgroups ===

impl Cgroups {
    /// Creates trees for one test. Returns `None` if no hierarchy is writable.
    pub fn new() -> Option<Self> {
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut roots = Vec::new();
        for base in bases().unwrap_or_default() {
            sweep(&base, PREFIX);
            let root = base.join(&name);
            if fs::create_dir(&root).is_ok() {
                roots.push(root);
            }
        }
        (!roots.is_empty()).then(|| Self { trees: Arc::new(Trees { roots }) })
    }

    /// Creates a container of the pod with this uid: `kubepods/besteffort/pod<uid>/<64 hexadecimal digits>`.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn container(&self, uid: &str) -> Result<Container> {
        let id = format!("{:064x}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.at(&format!("kubepods/besteffort/pod{uid}/{id}"))
    }

    /// Creates a cgroup at this path in all trees.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn at(&self, path: &str) -> Result<Container> {
        let mut directories = Vec::new();
        for root in &self.trees.roots {
            let directory = root.join(path);
            fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
            directories.push(directory);
        }
        Ok(Container { directories, _trees: self.trees.clone() })
    }
}

// === impl Container ===

impl Container {
    /// Returns a command that runs a program in this cgroup and in that network namespace. The child's pid is the
    /// program's.
    pub fn command(&self, netns: &Netns, program: &Path) -> Command {
        let mut command = netns.command("sh");
        command.args(["-c", ENTER, "sh"]);
        command.args(self.directories.iter().map(|directory| directory.join("cgroup.procs")));
        command.arg("--").arg(program);
        command
    }
}

// === impl Trees ===

impl Drop for Trees {
    fn drop(&mut self) {
        let roots = &self.roots;
        let gone = wait_until("empty cgroups", LEAVING, || roots.iter().all(|root| remove(root)));
        if let Err(error) = gone {
            eprintln!("{error:#}: {roots:?} stay, until a later test finds them");
        }
    }
}

/// Removes a cgroup and all cgroups below it. Returns whether they are gone. (Their files belong to the kernel and
/// vanish with them.)
pub(crate) fn remove(directory: &Path) -> bool {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
    !directory.exists()
}

/// Removes leftovers of killed tests: cgroups whose names are `prefix` and a pid.
pub(crate) fn sweep(base: &Path, prefix: &str) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(prefix)?.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&entry.path());
        }
    }
}

/// Returns the directories below which trees are created.
fn bases() -> Result<Vec<PathBuf>> {
    let (mounts, own) =
        (fs::read_to_string("/proc/self/mountinfo")?, fs::read_to_string("/proc/self/cgroup")?);
    Ok(mounts.lines().filter_map(|line| base(line, &own)).collect())
}

/// Returns the test's own cgroup in the hierarchy of a line of `mountinfo`. If that is a unit of systemd, which manages
/// the processes in it, returns the hierarchy's root, where a kubelet would create its pods.
fn base(mount: &str, own: &str) -> Option<PathBuf> {
    let (place, kind) = mount.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let (name, options) = (kind.next()?, kind.nth(1)?);
    let wanted = match name {
        "cgroup2" => "",
        "cgroup" => options.split(',').find(|option| matches!(*option, "pids" | "name=systemd"))?,
        _ => return None,
    };
    let mount = PathBuf::from(place.split(' ').nth(4)?);
    let mut hierarchies = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let (_, path) = hierarchies.find(|(controllers, _)| controllers.split(',').any(|c| c == wanted))?;
    let unit = path.split('/').any(|name| name.ends_with(".service") || name.ends_with(".scope"));
    let within = mount.join(path.trim_start_matches('/'));
    Some(if unit || !within.is_dir() { mount } else { within })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[test]
    fn hierarchies_are_found_by_their_mounts() {
        let own = "8:pids:/a\n1:name=systemd:/user.slice/session-1.scope\n0::/\n";
        let line = |point: &str, rest: &str| format!("40 31 0:37 / /sys/{point} rw,relatime - {rest}");
        let found = |point: &str, rest: &str| base(&line(point, rest), own);
        assert_eq!(found("unified", "cgroup2 cgroup2 rw"), Some("/sys/unified".into()));
        assert_eq!(found("pids", "cgroup cgroup rw,pids"), Some("/sys/pids".into()), "its /a is not there");
        assert_eq!(found("systemd", "cgroup cgroup rw,name=systemd"), Some("/sys/systemd".into()));
        assert_eq!(found("memory", "cgroup cgroup rw,memory"), None);
        assert_eq!(found("x", "tmpfs tmpfs rw"), None);
    }

    #[test]
    fn a_process_is_where_it_was_put_and_the_tree_goes_after_it() {
        let Some(cgroups) = Cgroups::new() else { return eprintln!("no cgroup can be written here") };
        let roots = cgroups.trees.roots.clone();
        let netns = Netns::new("cgroup").unwrap();
        let uid = "0a1b2c3d-1111-2222-3333-444455556666";
        let container = cgroups.container(uid).unwrap();
        let mut command = container.command(&netns, Path::new("cat"));
        command.arg("/proc/self/cgroup");
        let mut process = Process::spawn("cat", &command).unwrap();
        process.wait_exit(Duration::from_secs(10)).unwrap();
        let place = portreeve_agent::identity::cgroup::membership(&process.log());
        assert_eq!(
            place,
            portreeve_agent::identity::cgroup::Membership::Pod(uid.into()),
            "{}",
            process.log()
        );
        drop((cgroups, container));
        assert!(roots.iter().all(|root| !root.exists()), "{roots:?}");
    }
}
