//! An agent completes what its predecessor left unfinished; and which keepers may attach.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod keeper_rig;

use std::fs;
use std::time::Duration;

use keeper_rig::{BOUND, Part, Rig, alive, wait_for};
use portreeve_agent::supervisor::{EnsureError, Wanted};
use portreeve_keeper::proto::Report;
use portreeve_keeper::proto::keepers_client::KeepersClient;
use portreeve_keeper::{Phase, SpecError};
use tonic::Code;
use tonic::transport::Endpoint;

/// Checks that there is exactly one keeper with exactly one Envoy, and that these are the reported ones.
fn assert_single(rig: &Rig, state: &portreeve_keeper::State) {
    assert_eq!(rig.keepers(&state.name), [state.keeper_pid]);
    assert_eq!(rig.envoys(&state.name), [state.envoy_pid.unwrap()]);
}

#[test]
fn agent_killed_between_spec_and_spawn_is_completed_by_the_next() {
    let rig = Rig::new();
    let first = rig.agent_that(Part::Nothing, false);
    first.supervisor.ensure(rig.spec("gateway")).unwrap();
    drop(first);
    assert!(rig.keepers("gateway").is_empty());
    let second = rig.agent();
    assert_eq!(second.supervisor.found().unwrap(), ["gateway"]);
    second.supervisor.ensure(rig.spec("gateway")).unwrap();
    assert_single(&rig, &second.running("gateway"));
}

#[test]
fn agent_killed_between_spawn_and_attach_is_completed_by_the_next() {
    let rig = Rig::new();
    let first = rig.agent_that(Part::Run, false);
    first.supervisor.ensure(rig.spec("gateway")).unwrap();
    wait_for("a keeper", BOUND, || rig.dir("gateway").is_locked().unwrap().then_some(()));
    drop(first);
    let keepers =
        wait_for("its process", BOUND, || Some(rig.keepers("gateway")).filter(|all| all.len() == 1));
    let second = rig.agent();
    second.supervisor.ensure(rig.spec("gateway")).unwrap();
    let state = second.running("gateway");
    assert_eq!(keepers, [state.keeper_pid]);
    assert_single(&rig, &state);
}

#[test]
fn spec_changed_while_no_agent_lived_reaches_the_keeper() {
    let rig = Rig::new();
    let first = rig.agent();
    first.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = first.running("gateway");
    drop(first);
    let mut spec = rig.spec("gateway");
    spec.node_id = "another".into();
    let second = rig.agent();
    second.supervisor.ensure(spec).unwrap();
    let after = second.until("gateway", |status, state| {
        status.current && state.phase == Phase::Running && state.envoy_pid != before.envoy_pid
    });
    assert_eq!(after.keeper_pid, before.keeper_pid);
    let bootstrap = fs::read_to_string(rig.dir("gateway").bootstrap()).unwrap();
    assert!(bootstrap.contains("another"), "{bootstrap}");
    assert_single(&rig, &after);
}

#[test]
fn proxy_that_nobody_wants_any_more_stays_until_it_is_stopped() {
    let rig = Rig::new();
    let first = rig.agent();
    first.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = first.running("gateway");
    drop(first);
    let second = rig.agent();
    let state = second.until("gateway", |status, _| status.attached && status.wanted == Wanted::Unknown);
    assert_eq!(state.envoy_pid, before.envoy_pid);
    for name in second.supervisor.found().unwrap() {
        second.supervisor.stop(&name, Duration::ZERO);
    }
    wait_for("the end", BOUND, || second.supervisor.found().unwrap().is_empty().then_some(()));
    assert!(!alive(before.keeper_pid) && !alive(before.envoy_pid.unwrap()));
}

#[test]
fn unwanted_keeper_that_does_not_attach_is_ended_by_a_signal() {
    let rig = Rig::new();
    let agent = rig.agent_that(Part::Run, false);
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let state =
        wait_for("an Envoy", BOUND, || rig.state("gateway").filter(|state| state.envoy_pid.is_some()));
    let fault = wait_for("a fault", BOUND, || agent.supervisor.status().get("gateway")?.fault.clone());
    assert_eq!(fault, "the keeper lives, but does not attach");
    assert!(alive(state.envoy_pid.unwrap()), "it is left in peace while it is wanted");
    let left = agent.block_on(agent.supervisor.stop_all(Duration::from_secs(5)));
    assert!(left.is_empty() && !alive(state.keeper_pid), "{left:?}");
}

#[test]
fn proxy_wanted_again_while_it_stops_comes_back() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.running("gateway");
    agent.supervisor.stop("gateway", Duration::from_secs(1));
    agent.until("gateway", |_, state| state.phase == Phase::Draining);
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let after = agent.until("gateway", |status, state| {
        status.attached && state.keeper_pid != before.keeper_pid && state.phase == Phase::Running
    });
    assert_single(&rig, &after);
}

#[test]
fn two_agents_at_once_start_one_envoy() {
    let rig = Rig::new();
    let old = rig.agent_that(Part::Run, false);
    let new = rig.agent();
    old.supervisor.ensure(rig.spec("gateway")).unwrap();
    new.supervisor.ensure(rig.spec("gateway")).unwrap();
    let state = new.running("gateway");
    wait_for("the other keeper's end", BOUND, || (rig.keepers("gateway").len() == 1).then_some(()));
    assert_single(&rig, &state);
}

#[test]
fn process_that_does_not_hold_the_lock_cannot_attach() {
    let rig = Rig::new();
    let agent = rig.agent();
    agent.supervisor.ensure(rig.spec("gateway")).unwrap();
    let before = agent.running("gateway");
    let socket = format!("unix://{}", rig.socket().display());
    let refused = |name: &str| {
        let report = Report { protocol: 1, name: name.into(), phase: 2, ..Report::default() };
        agent.block_on(async {
            let channel = Endpoint::from_shared(socket.clone()).unwrap().connect().await.unwrap();
            let attached = KeepersClient::new(channel).attach(futures::stream::iter([report])).await;
            attached.expect_err("must be refused").code()
        })
    };
    for name in ["gateway", "other", "../gateway", ""] {
        assert_eq!(refused(name), Code::PermissionDenied, "{name:?}");
    }
    assert_eq!(agent.running("gateway"), before);
}

#[test]
fn unusable_spec_is_refused_before_anything_is_written() {
    let rig = Rig::new();
    let agent = rig.agent();
    let mut spec = rig.spec("gateway");
    spec.name = "../gateway".into();
    let error = agent.supervisor.ensure(spec).unwrap_err();
    assert!(matches!(error, EnsureError::Spec(SpecError::Name(_))), "{error}");
    let mut spec = rig.spec("gateway");
    spec.ads_socket = format!("/{}", "a".repeat(120)).into();
    let error = agent.supervisor.ensure(spec).unwrap_err();
    assert!(error.to_string().contains("121 bytes"), "{error}");
    assert!(agent.supervisor.found().unwrap().is_empty());
}
