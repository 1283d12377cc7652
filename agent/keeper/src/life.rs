//! The states of the Envoy that serves, or of the next one. [`Life`].

use std::time::{Duration, Instant};

/// What the serving Envoy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Unborn,
    Alive {
        since: Instant,
        answered: bool,
        live: bool,
    },
    /// Envoy is being killed because its admin interface never answered ([`MUTE`]).
    Mute {
        since: Instant,
    },
    Leaving {
        next: Leave,
        then: Then,
    },
    /// Envoy has ended, but its killed heir has not.
    Ending(Then),
    Waiting {
        until: Instant,
    },
    Over,
}

/// The next step for an Envoy that is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Begin(Instant, Duration),
    Terminate(Instant),
    Kill(Instant),
    Reap,
}

/// What follows the end of Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Restart,
    Finish,
}
