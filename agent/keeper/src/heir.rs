//! The Envoy beside the one that serves, to take over from it in a hot restart: what stands there. [`Heir`].

use std::time::{Duration, Instant};

use crate::event::Action;
use crate::spec::Order;

/// How long Envoy has between SIGTERM and SIGKILL.
pub const TERM_GRACE: Duration = Duration::from_secs(2);

/// Between the end of the elder's drain and its end. Envoy wants the second to be later, and a busy machine needs the time.
const MARGIN_S: u32 = 1;

/// The next Envoy of the same base id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heir {
    /// There is none, and none is wanted.
    None,
    /// One is to be started then.
    Due(Instant),
    /// It has not got its configuration yet; the elder serves.
    Starting { order: Order, since: Instant },
    /// It has told the elder to end; what is done when the elder does not.
    Live { order: Order, since: Instant, elder: Elder },
    /// It was killed, and is not gone yet.
    Dying,
}

/// What is done next to an elder that was told to end by its heir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elder {
    Terminate(Instant),
    Kill(Instant),
    Reap,
}

/// How long an Envoy serves on after its heir is there, in seconds, where listeners drain for `drain_s`.
pub(super) fn overlap_s(drain_s: u32) -> u32 {
    drain_s.max(1).saturating_add(MARGIN_S)
}

// === impl Heir ===

impl Heir {
    /// One that was just started with `order`.
    pub(super) fn begin(order: Order, now: Instant) -> Self {
        Self::Starting { order, since: now }
    }

    /// Whether there is a process.
    pub(super) fn is_there(&self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Live { .. } | Self::Dying)
    }

    /// Whether it goes on where its elder has ended; `told` is whether that ended as its heir tells it to. An elder that ends
    /// otherwise takes the heir with it: that waits for its answers for ten seconds and then aborts (measured: 4,969 of 12,000
    /// datagrams lost; a restart takes a tenth of a second).
    pub(super) fn inherits(&self, told: bool) -> bool {
        match self {
            Self::Starting { .. } => told,
            Self::Live { elder, .. } => told || !matches!(elder, Elder::Terminate(_)),
            _ => false,
        }
    }

    /// It has got its configuration.
    pub(super) fn live(&mut self, now: Instant) {
        if let Self::Starting { order, since } = self {
            let overlap = Duration::from_secs(overlap_s(order.spec.drain_s).into());
            let elder = Elder::Terminate(now + overlap + TERM_GRACE);
            *self = Self::Live { order: order.clone(), since: *since, elder };
        }
    }

    /// Nobody wants it any more; whether there is a process to kill for that.
    pub(super) fn disown(&mut self) -> bool {
        let kill = matches!(self, Self::Starting { .. } | Self::Live { .. });
        *self = if self.is_there() { Self::Dying } else { Self::None };
        kill
    }

    /// What is due to be done to an elder that was told to end and has not.
    pub(super) fn press(&mut self, now: Instant) -> Option<Action> {
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

    /// When something is due about it.
    pub(super) fn wake(&self) -> Option<Instant> {
        match self {
            Self::Due(at) => Some(*at),
            Self::Live { elder: Elder::Terminate(at) | Elder::Kill(at), .. } => Some(*at),
            _ => None,
        }
    }
}
