//! Limits of a server ([`Limits`]), and the count of its open streams ([`Permits`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Status;

use crate::load::Load;

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open streams. One more is refused with RESOURCE_EXHAUSTED.
    pub max_streams: usize,
    /// Longest request, bytes.
    pub max_request: usize,
    /// How long a stream may be open without a first request.
    pub first_request: Duration,
    /// Names that one stream may make the server remember. A stream that asks for more ends with RESOURCE_EXHAUSTED.
    pub load: Load,
}

/// The open streams of a server.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    open: Arc<AtomicUsize>,
}

/// One open stream. Dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

// === impl Limits ===

impl Limits {
    /// 1,024 streams, 16 MiB per request, 10 s, 100,000 names of 8 MiB together per stream (about 35 MB of memory; the
    /// largest Envoys have some ten thousand clusters).
    pub const DEFAULT: Self = Self {
        max_streams: 1024,
        max_request: 16 << 20,
        first_request: Duration::from_secs(10),
        load: Load { names: 100_000, bytes: 8 << 20 },
    };
}

impl Default for Limits {
    /// [`Limits::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

// === impl Permits ===

impl Permits {
    /// Counts one more stream, if fewer than `max` are open.
    pub(crate) fn take(&self, max: usize) -> Result<Permit, Status> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.open.clone());
        if before >= max {
            return Err(Status::resource_exhausted("too many streams"));
        }
        Ok(permit)
    }
}

// === impl Permit ===

impl Permit {
    /// Returns the number of open streams.
    pub(crate) fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
