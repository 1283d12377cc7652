//! The life cycle of one proxy as a synchronous struct: an event in, at most one action out. Entry point:
//! [`Machine::on`].
//!
//! A proxy is one Envoy, or during a hot restart two: the old one that serves, and its heir, which has the same base id
//! and the next restart epoch. The heir gets its configuration while the old Envoy serves, then makes the old one drain
//! and end. Until then, the old Envoy is the proxy. The machine has no process, no socket and no clock;
//! [`crate::run()`] executes its actions and passes the time.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
pub use crate::event::{Action, Event};
use crate::heir::{Heir, mute, overlap_s};
pub use crate::heir::{LATE, MUTE, TERM_GRACE};
use crate::life::{Leave, Life, Then};
use crate::spec::Order;
use crate::state::{Exit, Phase};

/// The life cycle of one proxy.
#[derive(Debug)]
pub struct Machine {
    order: Order,
    /// The order that the serving Envoy was started with.
    running: Order,
    /// Whether its file was replaced.
    renewed: bool,
    life: Life,
    heir: Heir,
    backoff: Backoff,
    heirs_backoff: Backoff,
    starts: u64,
    last_exit: Option<Exit>,
}

// === impl Machine ===

impl Machine {
    /// Creates a machine that starts Envoy with `order` at the first [`Event::Tick`].
    pub fn new(order: Order) -> Self {
        Self {
            running: order.clone(),
            order,
            renewed: false,
            life: Life::Unborn,
            heir: Heir::None,
            backoff: Backoff::default(),
            heirs_backoff: Backoff::default(),
            starts: 0,
            last_exit: None,
        }
    }

    /// Creates a machine whose Envoy serves and was started with `order` by an earlier build of this program.
    pub fn adopted(order: Order, now: Instant) -> Self {
        let life = Life::Alive { since: now, answered: true, live: true };
        Self { life, starts: 1, ..Self::new(order) }
    }

    /// Returns the order of the serving Envoy if no other process exists, so that an heir may be started.
    pub fn settled(&self) -> Option<&Order> {
        (self.is_live() && !self.heir.is_there()).then_some(&self.running)
    }

    /// Returns the order of the serving Envoy.
    pub fn running(&self) -> &Order {
        &self.running
    }

    /// Returns the current order, which the next start uses.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Returns the number of restarts. Hot restarts are counted by the epoch.
    pub fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }

    /// Returns how the last Envoy ended.
    pub fn last_exit(&self) -> Option<&Exit> {
        self.last_exit.as_ref()
    }

    /// Returns Envoy's phase.
    pub fn phase(&self) -> Phase {
        match self.life {
            Life::Unborn | Life::Alive { answered: false, .. } | Life::Mute { .. } => Phase::Starting,
            Life::Alive { answered: true, .. } => Phase::Running,
            Life::Leaving { .. } | Life::Ending(_) => Phase::Draining,
            Life::Waiting { .. } => Phase::Backoff,
            Life::Over => Phase::Stopped,
        }
    }

    /// Returns whether Envoy serves, according to the last check.
    pub fn is_live(&self) -> bool {
        matches!(self.life, Life::Alive { live: true, .. })
    }

    /// Returns whether an heir is waiting for its configuration.
    pub fn awaits_heir(&self) -> bool {
        matches!(self.heir, Heir::Starting { .. })
    }

    /// Returns whether the newest process has not answered yet, so that it may have to be killed.
    pub fn is_mute(&self) -> bool {
        match self.heir {
            Heir::Starting { answered, .. } => !answered,
            _ => self.phase() == Phase::Starting,
        }
    }

    /// Returns the time of the next start, in [`Phase::Backoff`].
    pub fn backoff_until(&self) -> Option<Instant> {
        match self.life {
            Life::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// Returns the latest time of the next [`Event::Tick`]; `None` if only another event can change the state.
    pub fn wake(&self) -> Option<Instant> {
        match self.life {
            Life::Alive { answered: false, since, .. } => Some(since + MUTE),
            Life::Alive { .. } => self.heir.wake(),
            Life::Waiting { until } => (!self.heir.is_there()).then_some(until),
            Life::Leaving { next: Leave::Begin(at, _) | Leave::Terminate(at) | Leave::Kill(at), .. } => {
                Some(at)
            }
            Life::Unborn | Life::Mute { .. } | Life::Leaving { .. } | Life::Ending(_) | Life::Over => None,
        }
    }

    /// Handles `event` at `now`, and returns the action.
    pub fn on(&mut self, event: Event, now: Instant) -> Option<Action> {
        match event {
            Event::Tick => self.tick(now),
            Event::Exited(exit) => self.exited(exit, now),
            Event::Answered => self.answered(false, now),
            Event::Live => self.answered(true, now),
            Event::HeirExited(exit) => self.heir_exited(exit, now),
            Event::HeirAnswered => {
                self.heir.answered();
                None
            }
            Event::HeirLive => {
                self.heir.live(now);
                None
            }
            Event::Strangers => {
                self.heir = Heir::None;
                self.leave(self.running.spec.drain(), Then::Restart, now)
            }
            Event::Renewed if !std::mem::replace(&mut self.renewed, true) && self.is_live() => {
                self.change(now)
            }
            Event::Renewed => None,
            Event::Ordered(order) => self.ordered(order, now),
            Event::Succeeded => self.succeeded(now),
            Event::Yield => self.give_way(now),
            Event::Stop(drain) => self.stop(drain, now),
        }
    }

    fn tick(&mut self, now: Instant) -> Option<Action> {
        match self.life {
            Life::Unborn => self.spawn(now),
            Life::Waiting { until } if now >= until && !self.heir.is_there() => self.spawn(now),
            Life::Alive { answered: false, since, .. } if now >= since + MUTE => {
                self.life = Life::Mute { since };
                Some(Action::Kill)
            }
            Life::Alive { .. } => self.tick_heir(now),
            Life::Leaving { next: Leave::Begin(_, drain), then } => self.leave(drain, then, now),
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

    fn tick_heir(&mut self, now: Instant) -> Option<Action> {
        match self.heir {
            Heir::Due(at) if now >= at => self.beget(now),
            _ => self.heir.press(now),
        }
    }

    fn exited(&mut self, exit: Exit, now: Instant) -> Option<Action> {
        let told = exit == Exit::Code(0);
        self.last_exit = Some(if matches!(self.life, Life::Mute { .. }) { mute() } else { exit });
        match self.life {
            Life::Alive { .. } if self.heir.inherits(told) => self.inherit(now),
            Life::Alive { since, .. } | Life::Mute { since } => {
                let until = now + self.backoff.after(now.saturating_duration_since(since));
                self.life = Life::Waiting { until };
                self.heir.disown().then_some(Action::KillHeir)
            }
            Life::Leaving { then, .. } if self.heir.is_there() => {
                self.life = Life::Ending(then);
                None
            }
            Life::Leaving { then, .. } => self.conclude(then, now),
            Life::Unborn | Life::Ending(_) | Life::Waiting { .. } | Life::Over => None,
        }
    }

    fn inherit(&mut self, now: Instant) -> Option<Action> {
        let (Heir::Starting { order, since, .. } | Heir::Live { order, since, .. }) = &self.heir else {
            return None;
        };
        self.life = Life::Alive { since: *since, answered: true, live: true };
        self.running = order.clone();
        self.renewed = false;
        self.heirs_backoff = Backoff::default();
        self.heir = if self.outdated() { Heir::Due(now) } else { Heir::None };
        Some(Action::Inherit)
    }

    fn heir_exited(&mut self, exit: Exit, now: Instant) -> Option<Action> {
        match (std::mem::replace(&mut self.heir, Heir::None), self.life) {
            (Heir::Starting { since, .. } | Heir::Live { since, .. }, Life::Alive { .. }) => {
                self.last_exit = Some(exit);
                self.heir = Heir::Due(now + self.heirs_backoff.after(now.saturating_duration_since(since)));
                None
            }
            (Heir::Mute { since }, Life::Alive { .. }) if self.outdated() => {
                self.last_exit = Some(mute());
                self.heir = Heir::Due(now + self.heirs_backoff.after(now.saturating_duration_since(since)));
                None
            }
            (_, Life::Alive { .. }) if self.outdated() => self.change(now),
            (_, Life::Waiting { until }) if now >= until => self.spawn(now),
            (_, Life::Ending(then)) => self.conclude(then, now),
            _ => None,
        }
    }

    fn answered(&mut self, serves: bool, now: Instant) -> Option<Action> {
        if let Life::Alive { answered, live, .. } = &mut self.life {
            *answered = true;
            *live |= serves;
        }
        (self.is_live() && self.outdated()).then(|| self.change(now)).flatten()
    }

    fn ordered(&mut self, order: Order, now: Instant) -> Option<Action> {
        if order.hash == self.order.hash || self.is_finishing() {
            return None;
        }
        self.order = order;
        match self.life {
            Life::Alive { .. } => self.change(now),
            // The new order may fix the reason of the failure.
            Life::Waiting { .. } => {
                self.backoff = Backoff::default();
                self.life = Life::Waiting { until: now };
                self.tick(now)
            }
            Life::Unborn | Life::Mute { .. } | Life::Leaving { .. } | Life::Ending(_) | Life::Over => None,
        }
    }

    /// Applies a new order to the running Envoy: by a hot restart if possible, otherwise by a restart.
    fn change(&mut self, now: Instant) -> Option<Action> {
        if matches!(self.heir, Heir::Live { .. } | Heir::Mute { .. } | Heir::Dying) {
            // Checked again when the old Envoy or the heir has ended.
            return None;
        }
        self.heirs_backoff = Backoff::default();
        if self.heir.disown() {
            return Some(Action::KillHeir);
        }
        if self.outdated() { self.beget(now) } else { None }
    }

    fn beget(&mut self, now: Instant) -> Option<Action> {
        if self.is_live() && self.running.spec.can_hand_over_to(&self.order.spec) {
            self.heir = Heir::begin(self.order.clone(), now);
            return Some(Action::SpawnHeir);
        }
        self.leave(self.running.spec.drain(), Then::Restart, now)
    }

    fn outdated(&self) -> bool {
        self.renewed || self.order.hash != self.running.hash
    }

    fn is_finishing(&self) -> bool {
        matches!(
            self.life,
            Life::Leaving { then: Then::Finish, .. } | Life::Ending(Then::Finish) | Life::Over
        )
    }

    fn stop(&mut self, drain: Duration, now: Instant) -> Option<Action> {
        match self.life {
            Life::Waiting { .. } if self.heir.is_there() => {
                self.life = Life::Ending(Then::Finish);
                None
            }
            Life::Unborn | Life::Waiting { .. } => self.conclude(Then::Finish, now),
            Life::Alive { .. } => self.leave(drain, Then::Finish, now),
            Life::Mute { .. } => {
                self.life = Life::Leaving { next: Leave::Reap, then: Then::Finish };
                None
            }
            Life::Leaving { next, .. } => {
                let next = match next {
                    Leave::Begin(at, before) => Leave::Begin(at, before.min(drain)),
                    Leave::Terminate(at) => Leave::Terminate(at.min(now + drain)),
                    other => other,
                };
                self.life = Life::Leaving { next, then: Then::Finish };
                None
            }
            Life::Ending(_) => {
                self.life = Life::Ending(Then::Finish);
                None
            }
            Life::Over => None,
        }
    }

    fn succeeded(&mut self, now: Instant) -> Option<Action> {
        match self.life {
            Life::Alive { .. } | Life::Leaving { .. } if !self.heir.is_there() => {
                self.last_exit = Some(Exit::Code(0));
                self.conclude(Then::Finish, now)
            }
            _ => self.exited(Exit::Code(0), now),
        }
    }

    /// Like [`Self::stop`], but waits for the successor to end Envoy, and ends it only if the successor doesn't.
    fn give_way(&mut self, now: Instant) -> Option<Action> {
        let spec = &self.running.spec;
        match self.life {
            Life::Alive { .. } if !self.heir.is_there() => {
                let at = now + Duration::from_secs(overlap_s(spec.drain_s).into()) + LATE;
                self.life = Life::Leaving { next: Leave::Terminate(at), then: Then::Finish };
                None
            }
            _ => self.stop(spec.drain(), now),
        }
    }

    fn spawn(&mut self, now: Instant) -> Option<Action> {
        self.life = Life::Alive { since: now, answered: false, live: false };
        self.running = self.order.clone();
        self.renewed = false;
        self.heir = Heir::None;
        self.starts += 1;
        Some(Action::Spawn)
    }

    fn leave(&mut self, drain: Duration, then: Then, now: Instant) -> Option<Action> {
        if self.heir.disown() {
            self.life = Life::Leaving { next: Leave::Begin(now, drain), then };
            return Some(Action::KillHeir);
        }
        if drain.is_zero() || !self.running.spec.can_drain() {
            self.life = Life::Leaving { next: Leave::Kill(now + TERM_GRACE), then };
            return Some(Action::Terminate);
        }
        self.life = Life::Leaving { next: Leave::Terminate(now + drain), then };
        Some(Action::Drain)
    }

    /// Concludes when no process is left.
    fn conclude(&mut self, then: Then, now: Instant) -> Option<Action> {
        match then {
            Then::Restart => self.spawn(now),
            Then::Finish => {
                self.life = Life::Over;
                Some(Action::Finish)
            }
        }
    }
}
