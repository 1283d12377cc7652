//! Health checks with the figures that custom resources don't set: [`check`].

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use portreeve_api::model::HealthCheck;

/// The shortest interval between two checks that gives no warning.
pub(super) const SHORT_INTERVAL: Duration = Duration::from_millis(500);

/// How long a check waits for an answer (the figure of API A's seed).
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// Returns a check by TCP, or with a path by HTTP. An interval of zero counts as none. One result decides.
pub(super) fn check(interval: Duration, http_path: Option<Arc<str>>) -> HealthCheck {
    HealthCheck {
        interval: Some(interval).filter(|interval| !interval.is_zero()),
        timeout: Some(PROBE_TIMEOUT),
        unhealthy_threshold: Some(NonZeroU32::MIN),
        healthy_threshold: Some(NonZeroU32::MIN),
        http_path,
    }
}
