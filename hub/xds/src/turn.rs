//! A stream's turn to send very much ([`Turn`]). See [`Source::turn`](crate::Source::turn).

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::source::StreamGuard;
use crate::watch::Take;

/// How long a turn lasts if the client doesn't read or answer.
const LONGEST: Duration = Duration::from_secs(5);

/// Whether a stream has a turn.
pub(crate) enum Turn {
    Unasked,
    Asked(Pin<Box<dyn Future<Output = StreamGuard> + Send>>),
    /// The stream has it, and has not taken changes yet.
    Granted(Kept),
    Used(Kept),
}

/// Ends when dropped, or by itself: while a client doesn't read, its stream is not polled.
pub(crate) struct Kept {
    _until: JoinSet<()>,
}

// === impl Turn ===

impl Turn {
    /// A turn that is used from its beginning.
    pub(crate) fn used(guard: StreamGuard) -> Self {
        Self::Used(Kept::new(guard))
    }

    /// Waits until an asked turn is granted, and otherwise for ever.
    pub(crate) async fn granted(&mut self) {
        match self {
            Self::Asked(asked) => *self = Self::Granted(Kept::new(asked.await)),
            Self::Unasked | Self::Granted(_) | Self::Used(_) => pending().await,
        }
    }

    /// Returns which changes a stream may take that is far behind or not. `ask` asks for a turn.
    pub(crate) fn take<F>(&mut self, far_behind: bool, ask: impl FnOnce() -> F) -> Take
    where
        F: Future<Output = StreamGuard> + Send + 'static,
    {
        let (turn, take) = match std::mem::replace(self, Self::Unasked) {
            Self::Granted(kept) | Self::Used(kept) => (Self::Used(kept), Take::All),
            Self::Unasked | Self::Asked(_) if !far_behind => (Self::Unasked, Take::All),
            Self::Unasked => (Self::Asked(Box::pin(ask())), Take::Urgent),
            asked @ Self::Asked(_) => (asked, Take::Urgent),
        };
        *self = turn;
        take
    }

    /// Whether what is sent now is sent in a turn.
    pub(crate) fn is_used(&self) -> bool {
        matches!(self, Self::Used(_))
    }

    /// Ends a turn that was used.
    pub(crate) fn end(&mut self) {
        if self.is_used() {
            *self = Self::Unasked;
        }
    }
}

// === impl Kept ===

impl Kept {
    fn new(guard: StreamGuard) -> Self {
        let mut until = JoinSet::new();
        until.spawn(async move {
            tokio::time::sleep(LONGEST).await;
            drop(guard);
        });
        Self { _until: until }
    }
}
