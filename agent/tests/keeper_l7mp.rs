//! Keepers and real l7mp proxies: their start, end, failure and change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod keeper_rig;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use keeper_rig::{AGENT, BOUND, Part, Rig, alive, send, wait_for};
use nix::sys::signal::Signal;
use portreeve_agent::l7mp::locate::{Given, locate};
use portreeve_keeper::dir::LOG_MAX;
use portreeve_keeper::{Exit, Phase, Program, Spec, l7mp};

/// The keepers' name.
const MESH: &str = "mesh";

/// Returns a port that is free at present.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns an order for an l7mp with its REST API at this port.
fn spec(rig: &Rig, port: u16, strict: bool) -> Spec {
    let programs = locate(&Given::default(), &mut |step| eprintln!("{step}")).unwrap();
    let port = port.try_into().unwrap();
    let program = Program::L7mp(l7mp::Settings { script: programs.script, port, strict });
    Spec { envoy: programs.node, program, ..rig.spec(MESH) }
}

/// Sends `GET /api/v1/<path>` from `source`, and returns the answer's status and body.
fn get(port: u16, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(BOUND)).ok()?;
    let head = format!("GET /api/v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    write!(stream, "{head}connection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

#[test]
fn l7mp_serves_its_api_and_nothing_else_in_both_modes() {
    for strict in [false, true] {
        let rig = Rig::new();
        let (agent, port) = (rig.agent(), free_port());
        agent.supervisor.ensure(spec(&rig, port, strict)).unwrap();
        let state = agent.until(MESH, |status, state| status.current && state.serves);
        assert_eq!((state.phase, state.base_id, state.restarts), (Phase::Running, None, 0));
        let (status, admin) = get(port, "admin").unwrap();
        assert!(status.contains("200") && admin.contains("\"version\""), "{status} {admin}");
        assert!(admin.contains(&format!("\"strict\": {strict}")), "{admin}");
        let (_, listeners) = get(port, "listeners").unwrap();
        assert_eq!(listeners.matches("\"protocol\"").count(), 1, "{listeners}");
        assert!(alive(state.envoy_pid.unwrap()));
    }
}

#[test]
fn killed_l7mp_is_started_again_and_counted() {
    let rig = Rig::new();
    let (agent, port) = (rig.agent(), free_port());
    agent.supervisor.ensure(spec(&rig, port, false)).unwrap();
    let before = agent.until(MESH, |_, state| state.serves);
    send(before.envoy_pid.unwrap(), Signal::SIGKILL);
    let after = agent.until(MESH, |_, state| state.restarts == 1 && state.serves);
    assert_eq!(after.last_exit, Some(Exit::Signal(9)));
    assert_eq!(after.keeper_pid, before.keeper_pid);
    assert_ne!(after.envoy_pid, before.envoy_pid);
    // A keeper that is killed takes its l7mp along, and the next one starts another.
    send(after.keeper_pid, Signal::SIGKILL);
    let old = after.envoy_pid.unwrap();
    wait_for("the orphan's end", BOUND, || (!alive(old)).then_some(()));
    let third = agent.until(MESH, |_, state| state.keeper_pid != after.keeper_pid && state.serves);
    assert_eq!(third.restarts, 2);
}

#[test]
fn stop_ends_l7mp_without_a_drain_and_kills_one_that_ignores_it() {
    for stopped in [false, true] {
        let rig = Rig::new();
        let (agent, port) = (rig.agent(), free_port());
        agent.supervisor.ensure(spec(&rig, port, false)).unwrap();
        let state = agent.until(MESH, |_, state| state.serves);
        if stopped {
            send(state.envoy_pid.unwrap(), Signal::SIGSTOP);
        }
        let begun = Instant::now();
        let left = agent.block_on(agent.supervisor.stop_all(Duration::from_secs(60)));
        assert!(left.is_empty() && begun.elapsed() < BOUND, "{left:?} after {:?}", begun.elapsed());
        assert!(!alive(state.envoy_pid.unwrap()) && !alive(state.keeper_pid));
        assert!(!rig.dir(MESH).path().exists());
    }
}

#[test]
fn changed_order_is_a_restart_with_the_new_settings() {
    let rig = Rig::new();
    let (agent, port, other) = (rig.agent(), free_port(), free_port());
    agent.supervisor.ensure(spec(&rig, port, false)).unwrap();
    let before = agent.until(MESH, |_, state| state.serves);
    agent.supervisor.ensure(spec(&rig, other, false)).unwrap();
    let after = agent
        .until(MESH, |status, state| status.current && state.serves && state.envoy_pid != before.envoy_pid);
    assert_eq!((after.keeper_pid, after.epoch), (before.keeper_pid, 0));
    assert!(get(port, "admin").is_none() && get(other, "admin").is_some());
    assert!(!alive(before.envoy_pid.unwrap()) && alive(after.envoy_pid.unwrap()));
}

#[test]
fn proxy_that_becomes_an_envoy_and_back_keeps_its_keeper() {
    let rig = Rig::new();
    let (agent, port) = (rig.agent(), free_port());
    agent.supervisor.ensure(rig.spec(MESH)).unwrap();
    let envoy = agent.live(MESH);
    agent.supervisor.ensure(spec(&rig, port, false)).unwrap();
    let l7mp = agent
        .until(MESH, |status, state| status.current && state.serves && state.envoy_pid != envoy.envoy_pid);
    assert_eq!(l7mp.keeper_pid, envoy.keeper_pid);
    agent.supervisor.ensure(rig.spec(MESH)).unwrap();
    let again = agent
        .until(MESH, |status, state| status.current && state.serves && state.envoy_pid != l7mp.envoy_pid);
    assert_eq!(again.keeper_pid, envoy.keeper_pid);
    assert!(get(port, "admin").is_none());
}

#[test]
fn wrong_argument_and_missing_script_are_told_and_mended_by_the_next_order() {
    let rig = Rig::new();
    let (agent, port) = (rig.agent(), free_port());
    let good = spec(&rig, port, false);
    let nowhere = l7mp::Settings { script: "/no/such/l7mp-proxy.js".into(), port: l7mp::PORT, strict: false };
    agent.supervisor.ensure(Spec { program: Program::L7mp(nowhere), ..good.clone() }).unwrap();
    let missing = agent.until(MESH, |_, state| state.phase == Phase::Backoff);
    let end = missing.last_end().unwrap();
    assert_eq!(end, "not started: /no/such/l7mp-proxy.js: l7mp's script is not a file");
    // With two configurations, l7mp reads none.
    let broken = Spec { extra_args: vec!["-c".into(), "/no/such/file.json".into()], ..good.clone() };
    agent.supervisor.ensure(broken).unwrap();
    agent.until(MESH, |status, state| {
        status.current && state.phase == Phase::Backoff && matches!(state.last_exit, Some(Exit::Code(1..)))
    });
    let words = agent.supervisor.last_words(MESH).unwrap();
    assert!(words.starts_with("Error: Could not read static configuration"), "{words}");
    agent.supervisor.ensure(good).unwrap();
    agent.until(MESH, |status, state| status.current && state.serves);
}

#[test]
fn l7mp_without_its_port_never_serves_even_if_another_has_it() {
    let rig = Rig::new();
    let (agent, port) = (rig.agent(), free_port());
    agent.supervisor.ensure(spec(&rig, port, false)).unwrap();
    agent.until(MESH, |_, state| state.serves);
    let second = Spec { name: "other".into(), ..spec(&rig, port, false) };
    agent.supervisor.ensure(second).unwrap();
    // It has nothing to wait for, and ends.
    let state = agent.until("other", |_, state| {
        assert!(!state.serves, "the first one's answer is not the second one's: {state:?}");
        state.phase == Phase::Backoff
    });
    assert_eq!(state.last_exit, Some(Exit::Code(0)));
}

#[test]
fn log_of_l7mp_is_bounded() {
    let rig = Rig::new();
    let (agent, port) = (rig.agent(), free_port());
    let verbose = Spec { extra_args: vec!["-l".into(), "silly".into()], ..spec(&rig, port, false) };
    agent.supervisor.ensure(verbose).unwrap();
    agent.until(MESH, |_, state| state.serves);
    let (log, aside) = (rig.dir(MESH).envoy_log(), rig.dir(MESH).path().join("envoy.log.1"));
    let padding = "x".repeat(8000);
    let deadline = Instant::now() + BOUND * 3;
    let length = || std::fs::metadata(&log).unwrap().len();
    // It is truncated after it was copied.
    while !aside.exists() || length() > LOG_MAX {
        assert!(Instant::now() < deadline, "{}", length());
        get(port, &format!("listeners/{padding}"));
    }
}

#[test]
fn keeper_becomes_the_build_of_a_new_agent_and_its_l7mp_runs_on() {
    let rig = Rig::new();
    let (agent, port) = (rig.agent(), free_port());
    agent.supervisor.ensure(spec(&rig, port, false)).unwrap();
    let before = agent.until(MESH, |_, state| state.serves);
    drop(agent);
    let newer = rig.socket().with_file_name("newer");
    std::fs::copy(AGENT, &newer).unwrap();
    let exe = || std::fs::read_link(format!("/proc/{}/exe", before.keeper_pid)).unwrap();
    let agent = rig.agent_of(&newer, Part::RunAndServe, false);
    agent.supervisor.ensure(spec(&rig, port, false)).unwrap();
    wait_for("another build", BOUND, || (exe() == newer).then_some(()));
    let after = agent.until(MESH, |status, state| status.attached && status.current && state.serves);
    assert_eq!((after.keeper_pid, after.envoy_pid), (before.keeper_pid, before.envoy_pid));
    // The new build is l7mp's parent: it notices its death.
    send(after.envoy_pid.unwrap(), Signal::SIGKILL);
    agent.until(MESH, |_, state| state.restarts == 1 && state.serves);
}
