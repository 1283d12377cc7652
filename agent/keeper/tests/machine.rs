//! The life cycle of one Envoy, tested on the struct without processes and waiting.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use portreeve_keeper::envoy::Family;
use portreeve_keeper::machine::{Action, Event, LATE, MUTE, Machine, TERM_GRACE};
use portreeve_keeper::{Exit, Order, Phase, Program, Spec, l7mp};

struct Life {
    machine: Machine,
    now: Instant,
}

fn mk_order(hash: &str, drain_s: u32) -> Order {
    let spec = Spec {
        name: "gateway".into(),
        envoy: "/envoy".into(),
        node_id: String::new(),
        node_cluster: String::new(),
        ads_socket: "/x".into(),
        concurrency: 1,
        extra_args: vec![],
        health_listener: None,
        drain_s,
        wildcard: Family::V4,
        memory_limit: None,
        extra_bootstrap: None,
        program: Program::Envoy,
    };
    Order { hash: hash.into(), spec }
}

fn mk_l7mp(hash: &str) -> Order {
    let mut order = mk_order(hash, 5);
    let settings = l7mp::Settings { script: "/p/l7mp-proxy.js".into(), port: l7mp::PORT, strict: false };
    order.spec.program = Program::L7mp(settings);
    order
}

fn mk_running() -> Life {
    let mut life = Life { machine: Machine::new(mk_order("one", 5)), now: Instant::now() };
    assert_eq!(life.on(Event::Tick), Some(Action::Spawn));
    assert_eq!(life.machine.phase(), Phase::Starting);
    assert_eq!(life.on(Event::Answered), None);
    assert_eq!(life.machine.phase(), Phase::Running);
    life
}

/// Creates a machine with an heir that was just started for order "two".
fn mk_with_heir() -> Life {
    let mut life = mk_running();
    life.on(Event::Live);
    assert_eq!(life.on(Event::Ordered(mk_order("two", 5))), Some(Action::SpawnHeir));
    assert!(life.machine.awaits_heir());
    life
}

fn crash() -> Event {
    Event::Exited(Exit::Signal(11))
}

fn heir_fails() -> Event {
    Event::HeirExited(Exit::Error("no such field".into()))
}

impl Life {
    fn on(&mut self, event: Event) -> Option<Action> {
        self.machine.on(event, self.now)
    }

    /// Advances the time until the machine wakes. Returns the duration and the machine's action.
    fn wake(&mut self) -> (Duration, Option<Action>) {
        let at = self.machine.wake().unwrap();
        assert_eq!(self.machine.on(Event::Tick, at - Duration::from_millis(1)), None, "too early");
        let slept = at - self.now;
        self.now = at;
        (slept, self.on(Event::Tick))
    }

    fn crash(&mut self) {
        assert_eq!(self.on(Event::Exited(Exit::Signal(11))), None);
        assert_eq!(self.machine.phase(), Phase::Backoff);
    }
}

#[test]
fn crashes_are_waited_out_longer_each_time_and_forgotten_after_a_long_run() {
    let mut life = mk_running();
    for milliseconds in [100, 200, 400, 800] {
        life.crash();
        assert_eq!(life.wake(), (Duration::from_millis(milliseconds), Some(Action::Spawn)));
    }
    life.now += Duration::from_secs(31);
    life.crash();
    assert_eq!(life.wake().0, Duration::from_millis(100));
    assert_eq!(life.machine.restarts(), 5);
    assert_eq!(life.machine.last_exit(), Some(&Exit::Signal(11)));
}

#[test]
fn running_envoy_wakes_nobody() {
    assert_eq!(mk_running().machine.wake(), None);
}

#[test]
fn stop_drains_then_terminates_then_kills_then_finishes() {
    let mut life = mk_running();
    assert_eq!(life.on(Event::Stop(Duration::from_secs(7))), Some(Action::Drain));
    assert_eq!(life.machine.phase(), Phase::Draining);
    assert_eq!(life.wake(), (Duration::from_secs(7), Some(Action::Terminate)));
    assert_eq!(life.wake(), (TERM_GRACE, Some(Action::Kill)));
    assert_eq!(life.machine.wake(), None);
    assert_eq!(life.on(Event::Exited(Exit::Signal(9))), Some(Action::Finish));
    assert_eq!(life.machine.phase(), Phase::Stopped);
}

#[test]
fn stop_without_drain_terminates_at_once() {
    let mut life = mk_running();
    assert_eq!(life.on(Event::Stop(Duration::ZERO)), Some(Action::Terminate));
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Finish));
}

#[test]
fn second_stop_only_shortens_the_drain() {
    let mut life = mk_running();
    life.on(Event::Stop(Duration::from_secs(60)));
    assert_eq!(life.on(Event::Stop(Duration::from_secs(90))), None);
    assert_eq!(life.on(Event::Stop(Duration::from_secs(3))), None);
    assert_eq!(life.wake(), (Duration::from_secs(3), Some(Action::Terminate)));
}

#[test]
fn stop_in_backoff_finishes_at_once() {
    let mut life = mk_running();
    life.crash();
    assert_eq!(life.on(Event::Stop(Duration::from_secs(60))), Some(Action::Finish));
}

#[test]
fn same_order_changes_nothing_and_another_drains_one_that_has_nothing_to_hand_over_and_restarts() {
    let mut life = mk_running();
    assert_eq!(life.on(Event::Ordered(mk_order("one", 99))), None);
    assert_eq!(life.machine.phase(), Phase::Running);
    assert_eq!(life.on(Event::Ordered(mk_order("two", 99))), Some(Action::Drain));
    assert_eq!(life.wake(), (Duration::from_secs(5), Some(Action::Terminate)));
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Spawn));
    assert_eq!((life.machine.order().hash.as_str(), life.machine.restarts()), ("two", 1));
}

#[test]
fn newest_order_wins_during_the_drain_and_a_stop_wins_over_all() {
    let mut life = mk_running();
    life.on(Event::Ordered(mk_order("two", 0)));
    assert_eq!(life.on(Event::Ordered(mk_order("three", 0))), None);
    assert_eq!(life.machine.order().hash, "three");
    assert_eq!(life.on(Event::Stop(Duration::ZERO)), None);
    assert_eq!(life.on(Event::Ordered(mk_order("four", 0))), None);
    assert_eq!(life.wake(), (Duration::ZERO, Some(Action::Terminate)));
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Finish));
}

#[test]
fn new_order_ends_the_backoff() {
    let mut life = mk_running();
    life.crash();
    assert_eq!(life.on(Event::Ordered(mk_order("two", 0))), Some(Action::Spawn));
    life.crash();
    assert_eq!(life.wake().0, Duration::from_millis(100));
}

#[test]
fn envoy_that_cannot_be_started_is_backed_off_like_a_crash() {
    let mut life = Life { machine: Machine::new(mk_order("one", 5)), now: Instant::now() };
    assert_eq!(life.on(Event::Tick), Some(Action::Spawn));
    assert_eq!(life.on(Event::Exited(Exit::Error("no fork".into()))), None);
    assert_eq!(life.wake(), (Duration::from_millis(100), Some(Action::Spawn)));
}

#[test]
fn live_envoy_hands_over_to_an_heir_that_is_live_and_is_the_proxy_until_it_ends() {
    let mut life = mk_with_heir();
    assert_eq!(life.on(Event::HeirAnswered), None);
    assert_eq!((life.machine.wake(), life.machine.phase()), (None, Phase::Running));
    assert_eq!(life.on(Event::HeirLive), None);
    assert!(!life.machine.awaits_heir());
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Inherit));
    assert_eq!(
        (life.machine.phase(), life.machine.restarts(), life.machine.is_live()),
        (Phase::Running, 0, true)
    );
    assert_eq!(life.machine.wake(), None);
    // And again.
    assert_eq!(life.on(Event::Ordered(mk_order("three", 5))), Some(Action::SpawnHeir));
}

#[test]
fn elder_that_ends_as_told_before_the_heir_was_seen_live_has_handed_over() {
    let mut life = mk_with_heir();
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Inherit));
}

#[test]
fn elder_that_does_not_end_is_terminated_after_the_overlap_and_killed() {
    let mut life = mk_with_heir();
    life.on(Event::HeirLive);
    assert_eq!(life.wake(), (Duration::from_secs(5 + 1) + LATE, Some(Action::Terminate)));
    assert_eq!(life.wake(), (TERM_GRACE, Some(Action::Kill)));
    assert_eq!(life.machine.wake(), None);
    assert_eq!(life.on(Event::Exited(Exit::Signal(9))), Some(Action::Inherit));
}

#[test]
fn heir_that_fails_is_tried_again_later_each_time_while_the_elder_serves() {
    let mut life = mk_with_heir();
    for milliseconds in [100, 200, 400] {
        assert_eq!(life.on(heir_fails()), None);
        assert_eq!((life.machine.phase(), life.machine.restarts()), (Phase::Running, 0));
        assert_eq!(life.machine.last_exit(), Some(&Exit::Error("no such field".into())));
        assert_eq!(life.wake(), (Duration::from_millis(milliseconds), Some(Action::SpawnHeir)));
    }
    // A better order needn't wait, and an order that restores the old spec ends the attempts.
    life.on(heir_fails());
    assert_eq!(life.on(Event::Ordered(mk_order("three", 5))), Some(Action::SpawnHeir));
    life.on(heir_fails());
    assert_eq!(life.machine.settled(), Some(&mk_order("one", 5)));
    assert_eq!(life.on(Event::Ordered(mk_order("one", 5))), None);
    assert_eq!(life.machine.wake(), None);
}

#[test]
fn envoy_that_never_answers_is_killed_and_started_again() {
    let mut life = Life { machine: Machine::new(mk_order("one", 5)), now: Instant::now() };
    life.on(Event::Tick);
    assert_eq!(life.wake(), (MUTE, Some(Action::Kill)));
    assert_eq!((life.machine.phase(), life.machine.wake()), (Phase::Starting, None));
    assert_eq!(life.on(Event::Exited(Exit::KILLED)), None);
    let said = life.machine.last_exit().unwrap().to_string();
    assert!(said.contains("did not answer for 30 s"), "{said}");
    assert_eq!(life.wake().1, Some(Action::Spawn));
}

#[test]
fn stop_of_an_envoy_that_never_answered_finishes_with_it() {
    let mut life = Life { machine: Machine::new(mk_order("one", 5)), now: Instant::now() };
    life.on(Event::Tick);
    life.wake();
    assert_eq!(life.on(Event::Stop(Duration::from_secs(5))), None);
    assert_eq!(life.on(Event::Exited(Exit::KILLED)), Some(Action::Finish));
}

#[test]
fn heir_that_never_answers_is_killed_and_tried_again_while_the_elder_serves() {
    let mut life = mk_with_heir();
    assert_eq!(life.wake(), (MUTE, Some(Action::KillHeir)));
    assert_eq!(life.on(Event::Ordered(mk_order("three", 5))), None, "it has to end first");
    assert_eq!(life.on(Event::HeirExited(Exit::KILLED)), None);
    assert!(life.machine.is_live() && !life.machine.awaits_heir());
    let said = life.machine.last_exit().unwrap().to_string();
    assert!(said.contains("did not answer for 30 s"), "{said}");
    assert_eq!(life.wake().1, Some(Action::SpawnHeir));
    assert_eq!(life.on(Event::HeirAnswered), None);
    assert_eq!(
        life.machine.wake(),
        None,
        "one that answered may wait for its configuration as long as it takes"
    );
}

#[test]
fn mute_heir_of_an_order_that_was_taken_back_is_not_followed() {
    let mut life = mk_with_heir();
    life.wake();
    life.on(Event::Ordered(mk_order("one", 5)));
    assert_eq!(life.on(Event::HeirExited(Exit::KILLED)), None);
    assert_eq!(life.machine.wake(), None);
}

#[test]
fn heir_of_an_outdated_order_is_killed_and_followed_by_one_of_the_newest() {
    let mut life = mk_with_heir();
    assert_eq!(life.on(Event::Ordered(mk_order("three", 5))), Some(Action::KillHeir));
    assert_eq!(life.on(Event::Ordered(mk_order("four", 5))), None);
    assert_eq!(life.on(Event::HeirExited(Exit::Signal(9))), Some(Action::SpawnHeir));
    // The order was withdrawn, so no further heir is started.
    assert_eq!(life.on(Event::Ordered(mk_order("one", 5))), Some(Action::KillHeir));
    assert_eq!(life.on(Event::HeirExited(Exit::Signal(9))), None);
    assert_eq!((life.machine.wake(), life.machine.phase()), (None, Phase::Running));
}

#[test]
fn order_that_comes_while_the_heir_takes_over_follows_it() {
    let mut life = mk_with_heir();
    life.on(Event::HeirLive);
    assert_eq!(life.on(Event::Ordered(mk_order("three", 5))), None);
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Inherit));
    assert_eq!(life.wake(), (Duration::ZERO, Some(Action::SpawnHeir)));
}

#[test]
fn elder_that_crashes_takes_a_starting_heir_along_and_a_plain_start_follows_both() {
    let mut life = mk_with_heir();
    assert_eq!(life.on(crash()), Some(Action::KillHeir));
    assert_eq!((life.machine.phase(), life.machine.wake()), (Phase::Backoff, None));
    // The machine waits for the heir's end, and then for the backoff.
    assert_eq!(life.on(Event::HeirExited(Exit::Signal(9))), None);
    assert_eq!(life.wake(), (Duration::from_millis(100), Some(Action::Spawn)));
    assert_eq!((life.machine.order().hash.as_str(), life.machine.restarts()), ("two", 1));
}

#[test]
fn elder_that_crashes_after_its_heir_is_live_is_inherited_from() {
    let mut life = mk_with_heir();
    life.on(Event::HeirLive);
    assert_eq!(life.on(crash()), Some(Action::Inherit));
    assert_eq!((life.machine.running().hash.as_str(), life.machine.restarts()), ("two", 0));
}

#[test]
fn stop_kills_the_heir_first_and_waits_for_both() {
    let mut life = mk_with_heir();
    assert_eq!(life.on(Event::Stop(Duration::from_secs(7))), Some(Action::KillHeir));
    assert_eq!(life.on(Event::Tick), Some(Action::Drain));
    assert_eq!(life.wake(), (Duration::from_secs(7), Some(Action::Terminate)));
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), None);
    assert_eq!(life.machine.phase(), Phase::Draining);
    assert_eq!(life.on(Event::HeirExited(Exit::Signal(9))), Some(Action::Finish));
}

#[test]
fn envoy_that_can_hand_over_to_nobody_is_drained_and_restarted() {
    let other = |change: fn(&mut Spec)| {
        let mut order = mk_order("two", 5);
        change(&mut order.spec);
        Event::Ordered(order)
    };
    for event in [
        other(|spec| spec.concurrency = 2),
        other(|spec| spec.extra_args = vec!["--base-id=7".into()]),
        other(|spec| spec.extra_args = vec!["--disable-hot-restart".into()]),
    ] {
        let mut life = mk_running();
        life.on(Event::Live);
        assert_eq!(life.on(event.clone()), Some(Action::Drain), "{event:?}");
        assert_eq!(life.wake(), (Duration::from_secs(5), Some(Action::Terminate)));
        assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Spawn));
    }
    let mut life = mk_with_heir();
    assert_eq!(life.on(Event::Strangers), Some(Action::Drain));
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Spawn));
}

#[test]
fn envoy_whose_file_was_replaced_hands_over_once() {
    let mut life = mk_running();
    assert_eq!(life.on(Event::Renewed), None, "it has nothing to hand over yet");
    assert_eq!(life.on(Event::Live), Some(Action::SpawnHeir));
    assert_eq!(life.on(Event::Renewed), None);
    life.on(Event::HeirLive);
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Inherit));
    assert_eq!(life.machine.wake(), None);
    assert_eq!(life.on(Event::Renewed), Some(Action::SpawnHeir));
}

#[test]
fn adopted_envoy_serves_hands_over_and_is_restarted_like_any_other() {
    let now = Instant::now();
    let mut life = Life { machine: Machine::adopted(mk_order("one", 5), now), now };
    assert_eq!(
        (life.machine.phase(), life.machine.wake(), life.machine.restarts()),
        (Phase::Running, None, 0)
    );
    assert_eq!(life.machine.settled(), Some(&mk_order("one", 5)));
    assert_eq!(life.on(Event::Tick), None);
    assert_eq!(life.on(Event::Ordered(mk_order("two", 5))), Some(Action::SpawnHeir));
    assert_eq!(life.machine.settled(), None);
    life.on(Event::HeirLive);
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Inherit));
    assert_eq!(life.machine.settled(), Some(&mk_order("two", 5)));
    life.crash();
    assert_eq!(life.wake(), (Duration::from_millis(100), Some(Action::Spawn)));
    assert_eq!(life.machine.restarts(), 1);
    assert_eq!(life.machine.settled(), None);
}

#[test]
fn envoy_that_was_succeeded_is_not_started_again() {
    let mut life = mk_running();
    life.on(Event::Live);
    assert_eq!(life.on(Event::Succeeded), Some(Action::Finish));
    assert_eq!((life.machine.phase(), life.machine.wake()), (Phase::Stopped, None));
    assert_eq!(life.machine.restarts(), 0);
}

#[test]
fn envoy_gives_way_to_its_successor_and_is_ended_only_when_that_does_not_come() {
    let mut life = mk_running();
    life.on(Event::Live);
    assert_eq!(life.on(Event::Yield), None, "no drain: sessions stay until the successor takes over");
    assert_eq!(life.wake(), (Duration::from_secs(6) + LATE, Some(Action::Terminate)));
    let mut life = mk_running();
    life.on(Event::Yield);
    assert_eq!(life.on(Event::Succeeded), Some(Action::Finish));
    // If it has an heir of its own, it doesn't yield.
    assert_eq!(mk_with_heir().on(Event::Yield), Some(Action::KillHeir));
}

#[test]
fn changed_order_of_l7mp_is_a_restart_without_a_drain() {
    let mut life = Life { machine: Machine::new(mk_l7mp("one")), now: Instant::now() };
    assert_eq!(life.on(Event::Tick), Some(Action::Spawn));
    life.on(Event::Live);
    assert_eq!(life.on(Event::Ordered(mk_l7mp("two"))), Some(Action::Terminate));
    assert_eq!(life.on(Event::Exited(Exit::Code(0))), Some(Action::Spawn));
    assert_eq!(life.machine.running().hash, "two");
    life.on(Event::Live);
    assert_eq!(life.on(Event::Stop(Duration::from_secs(30))), Some(Action::Terminate));
    life.now += TERM_GRACE;
    assert_eq!(life.on(Event::Tick), Some(Action::Kill));
    assert_eq!(life.on(Event::Exited(Exit::Signal(9))), Some(Action::Finish));
}
