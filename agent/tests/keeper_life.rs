//! Keepers and real Envoys when processes die, stop and change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod keeper_rig;

use std::process::Command;
use std::time::{Duration, Instant};

use keeper_rig::{AGENT, BOUND, Part, Rig, alive, send, wait_for};
use nix::sys::signal::Signal;
use portreeve_keeper::{Exit, Phase};

#[test]
fn agents_death_leaves_keeper_and_envoy_as_they_are() {
    let rig = Rig::new();
    let first = rig.agent();
    first.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = first.running("gateway");
    drop(first);
    let second = rig.agent();
    second.supervisor.ensure(rig.spec("gateway")).unwrap();
    let after = second.running("gateway");
    assert_eq!((after.keeper_pid, after.envoy_pid), (before.keeper_pid, before.envoy_pid));
    assert_eq!((after.restarts, rig.envoys("gateway").len()), (0, 1));
}

#[test]
fn killed_envoy_is_started_again_with_its_base_id_and_counted() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.running("gateway");
    send(before.envoy_pid.unwrap(), Signal::SIGKILL);
    let after = agent.until("gateway", |_, state| state.restarts == 1 && state.phase == Phase::Running);
    assert_eq!(after.last_exit, Some(Exit::Signal(9)));
    assert_eq!((after.keeper_pid, after.base_id), (before.keeper_pid, before.base_id));
    assert_ne!(after.envoy_pid, before.envoy_pid);
    assert_eq!(rig.envoys("gateway"), [after.envoy_pid.unwrap()]);
}

#[test]
fn second_keeper_of_a_directory_ends_at_once() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let state = agent.running("gateway");
    let second = Command::new(AGENT)
        .args(["keep", "--dir"])
        .arg(rig.dir("gateway").path())
        .arg("--agent-socket")
        .arg(rig.socket())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.success() && log.contains("another keeper is alive"), "{log}");
    assert_eq!(rig.envoys("gateway"), [state.envoy_pid.unwrap()]);
}

#[test]
fn killed_keeper_takes_its_envoy_along_and_another_starts_one() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.running("gateway");
    send(before.keeper_pid, Signal::SIGKILL);
    let old = before.envoy_pid.unwrap();
    wait_for("the orphan's end", Duration::from_secs(1), || (!alive(old)).then_some(()));
    let after = agent.until("gateway", |status, state| {
        status.attached && state.keeper_pid != before.keeper_pid && state.phase == Phase::Running
    });
    assert_eq!((after.restarts, after.base_id), (1, before.base_id));
    assert_eq!(rig.envoys("gateway"), [after.envoy_pid.unwrap()]);
    assert_eq!(rig.keepers("gateway"), [after.keeper_pid]);
}

#[test]
fn stop_drains_and_leaves_no_process_and_no_directory() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let state = agent.running("gateway");
    let begun = Instant::now();
    agent.supervisor.stop("gateway", Duration::from_secs(1));
    agent.until("gateway", |_, state| state.phase == Phase::Draining);
    let left = agent.block_on(agent.supervisor.stop_all(Duration::from_secs(1)));
    assert!(left.is_empty(), "{left:?}");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(!alive(state.envoy_pid.unwrap()) && !alive(state.keeper_pid));
    assert!(!rig.dir("gateway").path().exists());
    let shared = format!("/dev/shm/envoy_shared_memory_{}", state.base_id.unwrap() * 10);
    assert!(!std::path::Path::new(&shared).exists());
    wait_for("an empty book", BOUND, || agent.supervisor.status().is_empty().then_some(()));
}

#[test]
fn envoy_that_ignores_sigterm_is_killed_after_its_grace() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let state = agent.running("gateway");
    send(state.envoy_pid.unwrap(), Signal::SIGSTOP);
    let left = agent.block_on(agent.supervisor.stop_all(Duration::ZERO));
    assert!(left.is_empty() && !alive(state.envoy_pid.unwrap()), "{left:?}");
}

#[test]
fn sigterm_to_the_keeper_ends_it_and_its_envoy() {
    let rig = Rig::new();
    let agent = rig.agent_that(Part::Run, false);
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let state = wait_for("a running Envoy", BOUND, || {
        rig.state("gateway").filter(|state| state.phase == Phase::Running)
    });
    drop(agent);
    send(state.keeper_pid, Signal::SIGTERM);
    wait_for("the keeper's end", BOUND, || (!alive(state.keeper_pid)).then_some(()));
    assert!(!alive(state.envoy_pid.unwrap()) && !rig.dir("gateway").is_locked().unwrap());
    assert_eq!(rig.state("gateway").unwrap().phase, Phase::Stopped);
}

#[test]
fn two_proxies_have_different_base_ids_and_are_told_apart_by_pid() {
    let rig = Rig::new();
    let agent = rig.agent();
    for name in ["gateway", "edge"] {
        agent.supervisor.ensure(rig.spec(name)).unwrap();
    }
    let [gateway, edge] = ["gateway", "edge"].map(|name| agent.running(name));
    assert_ne!(gateway.base_id, edge.base_id);
    assert_eq!(agent.supervisor.proxy_of(gateway.envoy_pid.unwrap()).as_deref(), Some("gateway"));
    assert_eq!(agent.supervisor.proxy_of(edge.envoy_pid.unwrap()).as_deref(), Some("edge"));
    assert_eq!(agent.supervisor.proxy_of(std::process::id()), None);
}

#[test]
fn memory_and_processor_time_of_a_running_envoy_are_reported() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let used =
        |state: &portreeve_keeper::State| state.usage.filter(|u| u.resident > 10 << 20 && u.cpu_ms > 0);
    let state = agent.until("gateway", |_, state| used(state).is_some());
    println!("{:?}", state.usage);
    assert!(used(&state).unwrap().resident < 1 << 30);
    assert_eq!(rig.state("gateway").unwrap().usage, None);
}

#[test]
fn foreign_envoy_with_base_id_0_and_ours_do_not_clash() {
    let rig = Rig::new();
    let agent = rig.agent();
    let spec = rig.spec("gateway");
    let sockets = || std::fs::read_to_string("/proc/net/unix").unwrap();
    let base_ids = || portreeve_keeper::envoy::base_id::in_use(&sockets());
    // Without --base-id, this Envoy takes 0. If another process has 0 already, this one ends and the other plays its
    // role.
    let mut foreign = Command::new(&spec.envoy).args(["--config-yaml", "{}", "-l", "off"]).spawn().unwrap();
    wait_for("a foreign Envoy", BOUND, || base_ids().contains(&0).then_some(()));
    agent.supervisor.ensure(spec).unwrap();
    let first = agent.running("gateway");
    assert!(base_ids().contains(&0) && first.base_id.is_some_and(|id| id > 0), "{first:?}");
    send(first.envoy_pid.unwrap(), Signal::SIGKILL);
    let again = agent.until("gateway", |_, state| state.restarts == 1 && state.phase == Phase::Running);
    assert_eq!(again.base_id, first.base_id);
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}

#[test]
fn keeper_with_a_parent_ends_with_it() {
    let rig = Rig::new();
    let agent = rig.agent_that(Part::RunAndServe, true);
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let state = agent.running("gateway");
    drop(agent);
    wait_for("the keeper's end", BOUND, || (!alive(state.keeper_pid)).then_some(()));
    assert!(!alive(state.envoy_pid.unwrap()));
}
