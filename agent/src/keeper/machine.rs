//! The life of one Envoy as a synchronous struct: events in, one action out. Entry point: [`Machine::on`].
//!
//! It holds no process, no socket and no clock; [`super::run()`] carries out its actions and brings it the time.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::spec::Order;
use super::state::{Exit, Phase};

/// How long Envoy has between SIGTERM and SIGKILL.
pub const TERM_GRACE: Duration = Duration::from_secs(2);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time passed; due at [`Machine::wake`].
    Tick,
    /// Envoy ended, or could not be started.
    Exited(Exit),
    /// Envoy's admin interface answered.
    Answered,
    /// The agent wants this.
    Ordered(Order),
    /// The agent, the keeper's parent or a signal wants the end, with so long a drain.
    Stop(Duration),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start Envoy with the order in use.
    Spawn,
    /// Ask Envoy to drain its listeners.
    Drain,
    /// SIGTERM to Envoy.
    Terminate,
    /// SIGKILL to Envoy.
    Kill,
    /// No Envoy is left and none is wanted: the keeper ends.
    Finish,
}

/// One Envoy's life.
#[derive(Debug)]
pub struct Machine {
    order: Order,
    life: Life,
    backoff: Backoff,
    starts: u64,
    last_exit: Option<Exit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Unborn,
    Alive { since: Instant, answered: bool },
    Leaving { next: Leave, then: Then },
    Waiting { until: Instant },
    Over,
}

/// What is done next to an Envoy that is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    Terminate(Instant),
    Kill(Instant),
    Reap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Restart,
    Finish,
}

// === impl Machine ===

impl Machine {
    /// A machine that starts Envoy with `order` at its first [`Event::Tick`].
    pub fn new(order: Order) -> Self {
        Self { order, life: Life::Unborn, backoff: Backoff::default(), starts: 0, last_exit: None }
    }

    /// The order in use, for the next start at the latest.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// How often Envoy was started again.
    pub fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }

    /// How the last Envoy ended.
    pub fn last_exit(&self) -> Option<&Exit> {
        self.last_exit.as_ref()
    }

    /// Where Envoy stands.
    pub fn phase(&self) -> Phase {
        match self.life {
            Life::Unborn | Life::Alive { answered: false, .. } => Phase::Starting,
            Life::Alive { answered: true, .. } => Phase::Running,
            Life::Leaving { .. } => Phase::Draining,
            Life::Waiting { .. } => Phase::Backoff,
            Life::Over => Phase::Stopped,
        }
    }

    /// When Envoy is started again, in [`Phase::Backoff`].
    pub fn backoff_until(&self) -> Option<Instant> {
        match self.life {
            Life::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// When the next [`Event::Tick`] is due at the latest; [`None`] while only another event can change anything.
    pub fn wake(&self) -> Option<Instant> {
        match self.life {
            Life::Waiting { until } => Some(until),
            Life::Leaving { next: Leave::Terminate(at) | Leave::Kill(at), .. } => Some(at),
            Life::Unborn | Life::Alive { .. } | Life::Leaving { .. } | Life::Over => None,
        }
    }

    /// Takes `event` at `now`, and says what to do about it.
    pub fn on(&mut self, event: Event, now: Instant) -> Option<Action> {
        match event {
            Event::Tick => self.tick(now),
            Event::Exited(exit) => self.exited(exit, now),
            Event::Answered => self.answered(),
            Event::Ordered(order) => self.ordered(order, now),
            Event::Stop(drain) => self.stop(drain, now),
        }
    }

    fn tick(&mut self, now: Instant) -> Option<Action> {
        match self.life {
            Life::Unborn => self.spawn(now),
            Life::Waiting { until } if now >= until => self.spawn(now),
            Life::Leaving { next: Leave::Terminate(at), then } if now >= at => {
                self.life = Life::Leaving { next: Leave::Kill(now + TERM_GRACE), then };
                Some(Action::Terminate)
            }
            Life::Leaving { next: Leave::Kill(at), then } if now >= at => {
                self.life = Life::Leaving { next: Leave::Reap, then };
                Some(Action::Kill)
            }
            _ => None,
        }
    }

    fn exited(&mut self, exit: Exit, now: Instant) -> Option<Action> {
        self.last_exit = Some(exit);
        match self.life {
            Life::Alive { since, .. } => {
                let until = now + self.backoff.after(now.saturating_duration_since(since));
                self.life = Life::Waiting { until };
                None
            }
            Life::Leaving { then: Then::Restart, .. } => self.spawn(now),
            Life::Leaving { then: Then::Finish, .. } => self.finish(),
            Life::Unborn | Life::Waiting { .. } | Life::Over => None,
        }
    }

    fn answered(&mut self) -> Option<Action> {
        if let Life::Alive { answered, .. } = &mut self.life {
            *answered = true;
        }
        None
    }

    fn ordered(&mut self, order: Order, now: Instant) -> Option<Action> {
        if order.hash == self.order.hash || matches!(self.life, Life::Leaving { then: Then::Finish, .. }) {
            return None;
        }
        let before = std::mem::replace(&mut self.order, order);
        match self.life {
            Life::Alive { .. } => self.leave(before.spec.drain(), Then::Restart, now),
            // What made the old one fail may be what was changed.
            Life::Waiting { .. } => {
                self.backoff = Backoff::default();
                self.spawn(now)
            }
            Life::Unborn | Life::Leaving { .. } | Life::Over => None,
        }
    }

    fn stop(&mut self, drain: Duration, now: Instant) -> Option<Action> {
        match self.life {
            Life::Unborn | Life::Waiting { .. } => self.finish(),
            Life::Alive { .. } => self.leave(drain, Then::Finish, now),
            Life::Leaving { next, .. } => {
                let next = match next {
                    Leave::Terminate(at) => Leave::Terminate(at.min(now + drain)),
                    other => other,
                };
                self.life = Life::Leaving { next, then: Then::Finish };
                None
            }
            Life::Over => None,
        }
    }

    fn spawn(&mut self, now: Instant) -> Option<Action> {
        self.life = Life::Alive { since: now, answered: false };
        self.starts += 1;
        Some(Action::Spawn)
    }

    fn leave(&mut self, drain: Duration, then: Then, now: Instant) -> Option<Action> {
        if drain.is_zero() {
            self.life = Life::Leaving { next: Leave::Kill(now + TERM_GRACE), then };
            return Some(Action::Terminate);
        }
        self.life = Life::Leaving { next: Leave::Terminate(now + drain), then };
        Some(Action::Drain)
    }

    fn finish(&mut self) -> Option<Action> {
        self.life = Life::Over;
        Some(Action::Finish)
    }
}
