//! Known import circles that still exist.

/// The members of each circle. A circle that changes must be changed here, and a mended one must be removed.
pub const CIRCLES: &[&[&str]] = &[
    &["agent/src/metrics", "agent/src/run"],
    &["agent/src/replicas/choice", "agent/src/replicas/mod.rs"],
    &["agent/src/store/commit", "agent/src/store/disk"],
    &["agent/src/store/load", "agent/src/store/mod.rs", "agent/src/store/writer"],
];
