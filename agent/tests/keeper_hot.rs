//! Keepers and real Envoys through hot restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod keeper_rig;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use keeper_rig::{AGENT, BOUND, Part, Rig, alive, send, wait_for};
use nix::sys::signal::Signal;
use portreeve_keeper::machine::MUTE;
use portreeve_keeper::{Exit, Phase, Spec};

fn talkative(mut spec: Spec) -> Spec {
    spec.extra_args = vec!["-l".into(), "warning".into()];
    spec
}

#[test]
fn changed_spec_restarts_envoy_hot_under_the_same_keeper() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.live("gateway");
    let spec = talkative(rig.spec("gateway"));
    agent.supervisor.ensure(spec.clone()).unwrap();
    // One keeper has two Envoys, and both belong to the proxy.
    let both = wait_for("an heir", BOUND, || Some(rig.envoys("gateway")).filter(|pids| pids.len() == 2));
    for pid in both {
        assert_eq!(agent.supervisor.proxy_of(pid).as_deref(), Some("gateway"));
    }
    let after = agent.until("gateway", |status, state| status.current && state.epoch == 1);
    assert_eq!((after.keeper_pid, after.base_id, after.restarts), (before.keeper_pid, before.base_id, 0));
    assert_eq!((after.phase, after.last_exit), (Phase::Running, Some(Exit::Code(0))));
    assert_eq!(rig.envoys("gateway"), [after.envoy_pid.unwrap()]);
    agent.supervisor.ensure(spec).unwrap();
    assert_eq!(agent.running("gateway").envoy_pid, after.envoy_pid);
    // After a crash, the epoch is 0 again.
    send(after.envoy_pid.unwrap(), Signal::SIGKILL);
    let again = agent.until("gateway", |_, state| state.restarts == 1 && state.phase == Phase::Running);
    assert_eq!((again.epoch, again.base_id), (0, before.base_id));
}

#[test]
fn heir_that_fails_is_told_of_and_the_next_one_takes_over() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.live("gateway");
    let mut broken = rig.spec("gateway");
    broken.extra_args = vec!["--config-yaml".into(), "{nonsense: 1}".into()];
    agent.supervisor.ensure(broken).unwrap();
    let told = agent.until("gateway", |_, state| state.last_exit.is_some());
    let words = told.last_exit.unwrap().to_string();
    println!("{words}");
    assert!(words.starts_with("not started: Envoy of restart epoch 1: exit code 1: error"), "{words}");
    assert!(words.contains("nonsense") && words.ends_with("; the one before it serves on"), "{words}");
    assert_eq!((told.envoy_pid, told.phase, told.epoch), (before.envoy_pid, Phase::Running, 0));
    agent.supervisor.ensure(talkative(rig.spec("gateway"))).unwrap();
    let after = agent.until("gateway", |_, state| state.epoch == 1);
    assert_eq!((after.restarts, after.base_id, alive(before.envoy_pid.unwrap())), (0, before.base_id, false));
}

#[test]
fn heir_that_hangs_at_the_elder_is_killed_and_the_next_one_takes_over() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let elder = agent.live("gateway").envoy_pid.unwrap();
    // An Envoy waits without end for the answers of one that is stopped, as for one that ended while it was asked.
    send(elder, Signal::SIGSTOP);
    agent.supervisor.ensure(talkative(rig.spec("gateway"))).unwrap();
    let told = wait_for("the end of the heir", MUTE + BOUND, || {
        rig.state("gateway").and_then(|state| state.last_exit).map(|exit| exit.to_string())
    });
    assert!(told.contains("did not answer for 30 s"), "{told}");
    assert!(alive(elder));
    send(elder, Signal::SIGCONT);
    let after = agent.until("gateway", |status, state| status.current && state.epoch == 1);
    assert_eq!((after.restarts, rig.envoys("gateway")), (0, vec![after.envoy_pid.unwrap()]));
}

#[test]
fn heir_without_an_agent_waits_and_the_elder_serves_on() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.live("gateway");
    drop(agent);
    // The agent's keeper service is there, but its xDS socket isn't.
    let away = rig.agent_that(Part::RunAndServe, false);
    let mut spec = rig.spec("gateway");
    spec.ads_socket = rig.socket().with_file_name("nobody.sock");
    away.supervisor.ensure(spec).unwrap();
    let both = wait_for("an heir", BOUND, || Some(rig.envoys("gateway")).filter(|pids| pids.len() == 2));
    let admin = rig.dir("gateway").admin();
    wait_for("the heir's admin interface", BOUND, || {
        keeper_rig::get(&admin, "/server_info").filter(|text| text.contains("PRE_INITIALIZING"))
    });
    let state = rig.state("gateway").unwrap();
    assert_eq!((state.envoy_pid, state.epoch, state.phase), (before.envoy_pid, 0, Phase::Running));
    // If a keeper is killed, both its Envoys end, and its successor starts one.
    send(before.keeper_pid, Signal::SIGKILL);
    let after = away.until("gateway", |_, state| {
        state.keeper_pid != before.keeper_pid && state.envoy_pid.is_some() && state.phase == Phase::Running
    });
    assert!(!both.iter().any(|pid| alive(*pid)) && after.epoch == 0, "{after:?}");
    assert_eq!(rig.envoys("gateway"), [after.envoy_pid.unwrap()]);
}

#[test]
fn elder_that_crashes_takes_its_heir_along_and_one_envoy_is_left() {
    let rig = Rig::new();
    let agent = rig.agent();
    let mut spec = rig.spec("gateway");
    spec.drain_s = 60;
    agent.supervisor.ensure(spec.clone()).unwrap();
    let before = agent.live("gateway");
    agent.supervisor.ensure(talkative(spec)).unwrap();
    wait_for("an heir", BOUND, || (rig.envoys("gateway").len() == 2).then_some(()));
    send(before.envoy_pid.unwrap(), Signal::SIGKILL);
    let after = agent.until("gateway", |_, state| state.restarts == 1 && state.phase == Phase::Running);
    assert_eq!((after.epoch, rig.envoys("gateway")), (0, vec![after.envoy_pid.unwrap()]));
}

#[test]
fn elder_that_dies_while_its_live_heir_asks_it_is_stood_in_for() {
    let rig = Rig::new();
    let agent = rig.agent();
    let mut spec = rig.spec("gateway");
    spec.drain_s = 60;
    agent.supervisor.ensure(spec.clone()).unwrap();
    let before = agent.live("gateway");
    agent.supervisor.ensure(talkative(spec.clone())).unwrap();
    let admin = rig.dir("gateway").admin();
    let info = || keeper_rig::get_within(Duration::from_secs(2), &admin, "/server_info");
    let lives = |epoch: u32| {
        let epoch = format!("\"restart_epoch\": {epoch}");
        info().filter(|text| text.contains("\"state\": \"LIVE\"") && text.contains(&epoch))
    };
    wait_for("a live heir", BOUND, || lives(1));
    // The next question for statistics comes within five seconds, and hangs.
    send(before.envoy_pid.unwrap(), Signal::SIGSTOP);
    wait_for("the heir to hang", BOUND, || info().is_none().then_some(()));
    send(before.envoy_pid.unwrap(), Signal::SIGKILL);
    let after = agent.until("gateway", |_, state| state.epoch == 1 && state.phase == Phase::Running);
    assert_eq!((after.restarts, rig.envoys("gateway")), (0, vec![after.envoy_pid.unwrap()]));
    wait_for("the heir to go on", BOUND, || lives(1));
    // It asks every five seconds, and is taken over from like any other.
    let begun = Instant::now();
    wait_for("two more questions", BOUND, || {
        assert!(lives(1).is_some(), "{}", rig.evidence("gateway"));
        (begun.elapsed() > Duration::from_secs(12)).then_some(())
    });
    agent.supervisor.ensure(spec).unwrap();
    wait_for("the next heir", BOUND, || lives(2));
    assert_eq!(rig.state("gateway").unwrap().restarts, 0);
}

#[test]
fn envoy_whose_file_is_replaced_is_restarted_hot() {
    let rig = Rig::new();
    let agent = rig.agent();
    let mut spec = rig.spec("gateway");
    let own = rig.socket().with_file_name("envoy");
    let copy = own.with_file_name("copy");
    fs::copy(&spec.envoy, &own).unwrap();
    fs::copy(&spec.envoy, &copy).unwrap();
    spec.envoy = own.clone();
    agent.supervisor.ensure(spec).unwrap();
    let before = agent.live("gateway");
    fs::rename(&copy, &own).unwrap();
    let after = agent.until("gateway", |_, state| state.epoch == 1);
    assert_eq!((after.restarts, after.spec_hash), (0, before.spec_hash));
    let running = fs::read_link(format!("/proc/{}/exe", after.envoy_pid.unwrap())).unwrap();
    assert_eq!(running, own, "the old file's link would end with (deleted)");
}

#[test]
fn keeper_becomes_the_build_of_a_new_agent_and_its_envoy_notices_nothing() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.live("gateway");
    drop(agent);
    let newer = rig.socket().with_file_name("newer");
    fs::copy(AGENT, &newer).unwrap();
    let exe = || fs::read_link(format!("/proc/{}/exe", before.keeper_pid)).unwrap();
    assert_eq!(exe(), Path::new(AGENT));
    let agent = rig.agent_of(&newer, Part::RunAndServe, false);
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    wait_for("another build", BOUND, || (exe() == newer).then_some(()));
    let after = agent.running("gateway");
    assert_eq!((after.keeper_pid, after.envoy_pid), (before.keeper_pid, before.envoy_pid));
    assert_eq!((after.epoch, after.restarts, after.started_ms), (0, 0, before.started_ms));
    assert!(rig.dir("gateway").is_locked().unwrap());
    let handover = rig.dir("gateway").handover();
    wait_for("the other build's first look", BOUND, || (!handover.exists()).then_some(()));
    // The new keeper acts as the Envoy's parent: it hands the Envoy over, notices its crash, and ends it.
    agent.supervisor.ensure(talkative(rig.spec("gateway"))).unwrap();
    let hot = agent.until("gateway", |_, state| state.epoch == 1);
    assert_eq!((hot.restarts, hot.keeper_pid), (0, before.keeper_pid));
    send(hot.envoy_pid.unwrap(), Signal::SIGKILL);
    agent.until("gateway", |_, state| state.restarts == 1 && state.phase == Phase::Running);
    let left = agent.block_on(agent.supervisor.stop_all(Duration::ZERO));
    assert!(left.is_empty() && rig.envoys("gateway").is_empty(), "{left:?}");
    wait_for("the keeper's end", BOUND, || (!alive(before.keeper_pid)).then_some(()));
}

#[test]
fn keeper_that_cannot_become_what_it_is_told_stays_what_it_is() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.live("gateway");
    drop(agent);
    let garbage = rig.socket().with_file_name("garbage");
    fs::write(&garbage, "not a program").unwrap();
    let agent = rig.agent_of(&garbage, Part::RunAndServe, false);
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let log = || fs::read_to_string(rig.dir("gateway").keeper_log()).unwrap();
    wait_for("a complaint", BOUND, || log().contains("this process stays what it is").then_some(()));
    let after = agent.running("gateway");
    assert_eq!((after.keeper_pid, after.envoy_pid), (before.keeper_pid, before.envoy_pid));
    send(before.envoy_pid.unwrap(), Signal::SIGKILL);
    agent.until("gateway", |_, state| state.restarts == 1 && state.phase == Phase::Running);
}
