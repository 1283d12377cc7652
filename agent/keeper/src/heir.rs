//! The new Envoy of a hot restart, which runs in parallel with the old one until it takes over. [`Heir`].

use std::time::{Duration, Instant};

use crate::event::Action;
use crate::spec::Order;
use crate::state::Exit;

/// Time between SIGTERM and SIGKILL.
pub const TERM_GRACE: Duration = Duration::from_secs(2);

/// Time between the end of the old Envoy's drain and its end. Envoy requires the end to be later, and a busy machine
/// needs the margin.
const MARGIN_S: u32 = 1;

/// How much later than planned a live heir may tell the old Envoy to end, before the keeper ends it. On a busy machine it is
/// late by seconds, and an Envoy that is ended while its heir asks it takes the answer along.
pub const LATE: Duration = Duration::from_secs(15);

/// How long the admin interface of a new Envoy may be silent. Envoy opens it within a second, unless it waits for an old
/// Envoy that ended while it was asked, which is forever.
pub const MUTE: Duration = Duration::from_secs(30);

/// The next Envoy with the same base id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heir {
    /// There is none, and none is needed.
    None,
    /// One must be started at this time.
    Due(Instant),
    /// It has no configuration yet. The old Envoy serves.
    Starting { order: Order, since: Instant, answered: bool },
    /// It has told the old Envoy to end. `elder` is the next step if the old one doesn't.
    Live { order: Order, since: Instant, elder: Elder },
    /// It is being killed because its admin interface never answered ([`MUTE`]).
    Mute { since: Instant },
    /// It was killed because it is not wanted, but has not ended yet.
    Dying,
}

/// The next step for an old Envoy that its heir has told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elder {
    Terminate(Instant),
    Kill(Instant),
    Reap,
}

/// Returns how long an Envoy keeps running after its heir is live, in seconds, if listeners drain for `drain_s`.
pub(super) fn overlap_s(drain_s: u32) -> u32 {
    drain_s.max(1).saturating_add(MARGIN_S)
}

/// Returns the end of an Envoy that was killed because it never answered.
pub(super) fn mute() -> Exit {
    Exit::Error(format!("its admin interface did not answer for {} s, so it was killed", MUTE.as_secs()))
}

// === impl Heir ===

impl Heir {
    /// Creates the state of an heir that was just started with `order`.
    pub(super) fn begin(order: Order, now: Instant) -> Self {
        Self::Starting { order, since: now, answered: false }
    }

    /// Returns whether the heir has a process.
    pub(super) fn is_there(&self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Live { .. } | Self::Mute { .. } | Self::Dying)
    }

    /// Returns whether the heir continues after the old Envoy has ended. `told`: the old Envoy ended regularly. An heir that
    /// is not live must be restarted otherwise, because it would wait ten seconds for the old one's answers and then abort
    /// (measured: 4,969 of 12,000 datagrams lost; a restart takes a tenth of a second). The keeper answers a live one
    /// itself ([`crate::envoy::stand_in`]).
    pub(super) fn inherits(&self, told: bool) -> bool {
        match self {
            Self::Starting { .. } => told,
            Self::Live { .. } => true,
            _ => false,
        }
    }

    /// Records that the heir's admin interface answered.
    pub(super) fn answered(&mut self) {
        if let Self::Starting { answered, .. } = self {
            *answered = true;
        }
    }

    /// Records that the heir has its configuration.
    pub(super) fn live(&mut self, now: Instant) {
        if let Self::Starting { order, since, .. } = self {
            let overlap = Duration::from_secs(overlap_s(order.spec.drain_s).into());
            let elder = Elder::Terminate(now + overlap + LATE);
            *self = Self::Live { order: order.clone(), since: *since, elder };
        }
    }

    /// Records that the heir is no longer wanted. Returns whether it has a process to kill.
    pub(super) fn disown(&mut self) -> bool {
        let kill = matches!(self, Self::Starting { .. } | Self::Live { .. });
        *self = if self.is_there() { Self::Dying } else { Self::None };
        kill
    }

    /// Returns the action that is due for an heir that doesn't answer, or for an old Envoy that was told to end and hasn't.
    pub(super) fn press(&mut self, now: Instant) -> Option<Action> {
        if let Self::Starting { since, answered: false, .. } = *self
            && now >= since + MUTE
        {
            *self = Self::Mute { since };
            return Some(Action::KillHeir);
        }
        let Self::Live { elder, .. } = self else { return None };
        match *elder {
            Elder::Terminate(at) if now >= at => {
                *elder = Elder::Kill(now + TERM_GRACE);
                Some(Action::Terminate)
            }
            Elder::Kill(at) if now >= at => {
                *elder = Elder::Reap;
                Some(Action::Kill)
            }
            _ => None,
        }
    }

    /// Returns the time of the heir's next action.
    pub(super) fn wake(&self) -> Option<Instant> {
        match self {
            Self::Due(at) => Some(*at),
            Self::Starting { since, answered: false, .. } => Some(*since + MUTE),
            Self::Live { elder: Elder::Terminate(at) | Elder::Kill(at), .. } => Some(*at),
            _ => None,
        }
    }
}
