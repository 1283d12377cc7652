//! The figures of health checks that custom resources don't set.

use std::time::Duration;

/// The shortest interval between two checks that gives no warning.
pub(super) const SHORT_INTERVAL: Duration = Duration::from_millis(500);

/// How long a check waits for an answer (the figure of API A's seed).
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(100);
