//! The life of one Envoy, spoken to the struct; no process and no waiting.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use portreeve_agent::envoy::Family;
use portreeve_agent::keeper::machine::{Action, Event, Machine, TERM_GRACE};
use portreeve_agent::keeper::{Exit, Order, Phase, Spec};

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
    };
    Order { hash: hash.into(), spec }
}

fn mk_running() -> Life {
    let mut life = Life { machine: Machine::new(mk_order("one", 5)), now: Instant::now() };
    assert_eq!(life.on(Event::Tick), Some(Action::Spawn));
    assert_eq!(life.machine.phase(), Phase::Starting);
    assert_eq!(life.on(Event::Answered), None);
    assert_eq!(life.machine.phase(), Phase::Running);
    life
}

impl Life {
    fn on(&mut self, event: Event) -> Option<Action> {
        self.machine.on(event, self.now)
    }

    /// Lets time pass until the machine wakes, and returns how long that was and what it does.
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
fn same_order_changes_nothing_and_another_drains_with_the_old_ones_time_and_restarts() {
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
