//! Incremental and state-of-the-world xDS.
