//! From custom resources to Plans: one file per API, pure.

pub mod a;
pub mod own;
