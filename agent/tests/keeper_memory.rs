//! An Envoy that the kernel kills for lack of memory, in a real cgroup with a limit.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod keeper_rig;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use keeper_rig::{AGENT, BOUND, Part, Rig, send, wait_for};
use nix::sys::signal::Signal;
use portreeve_keeper::Exit;
use portreeve_keeper::memory::{Memory, directories};

/// Too little for any Envoy, enough for a keeper. In bytes.
const LIMIT: u64 = 16 << 20;

/// A memory cgroup with a limit, below the test's own. It is removed on drop.
struct Limited(PathBuf);

impl Limited {
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let name = format!("portreeve-keeper-{}", std::process::id());
        directories(&mounts, &own).into_iter().find_map(|parent| Self::at(parent.join(&name)))
    }

    fn at(directory: PathBuf) -> Option<Self> {
        fs::create_dir(&directory).ok()?;
        let made = Self(directory);
        let files = ["memory.max", "memory.limit_in_bytes"].map(|file| made.0.join(file));
        let limited = files.iter().any(|file| file.exists() && fs::write(file, LIMIT.to_string()).is_ok());
        (limited && Memory::at(&made.0).is_some()).then_some(made)
    }

    fn keeper(&self, dir: &Path, socket: &Path) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ >"$1" && shift && exec "$@""#, "sh"]);
        command.arg(self.0.join("cgroup.procs")).args([AGENT, "keep", "--dir"]).arg(dir);
        command.arg("--agent-socket").arg(socket).stdin(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        wait_for("an empty cgroup", BOUND, || fs::remove_dir(&self.0).is_ok().then_some(()));
    }
}

#[test]
fn envoy_that_the_kernel_ends_for_want_of_memory_is_told_from_one_that_somebody_killed() {
    let Some(limited) = Limited::new() else {
        assert!(std::env::var_os("CI").is_none(), "no memory cgroup can be made here");
        return eprintln!("not run: no memory cgroup can be made here");
    };
    let rig = Rig::new();
    let agent = rig.agent_that(Part::Nothing, false);
    let spec = rig.spec("gateway");
    // Read into the page cache, charged to this process: under the limit, the programs' own pages would be dropped and
    // read again endlessly, and nothing would be killed.
    for program in [spec.envoy.as_path(), Path::new(AGENT)] {
        assert!(fs::read(program).unwrap().len() > 1 << 20);
    }
    agent.supervisor.ensure(spec).unwrap();
    let mut keeper = limited.keeper(rig.dir("gateway").path(), &rig.socket());
    let state = wait_for("a kill", BOUND * 3, || rig.state("gateway").filter(|state| state.memory_kills > 0));
    assert_eq!((state.last_exit.clone(), state.memory_limit), (Some(Exit::KILLED), Some(LIMIT)), "{state:?}");
    assert_eq!(state.last_end().unwrap(), "killed for lack of memory (OOM), limit 16 MiB");
    send(keeper.id(), Signal::SIGTERM);
    keeper.wait().unwrap();

    // A process that was killed by a signal from another process isn't counted.
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.running("gateway");
    send(before.envoy_pid.unwrap(), Signal::SIGKILL);
    let after = agent.until("gateway", |_, state| state.restarts == 1);
    assert_eq!((after.last_exit.clone(), after.memory_kills), (Some(Exit::KILLED), 0));
    assert_eq!(after.last_end().unwrap(), "signal 9");
}
