//! From custom resources to Plans: one file per API, pure.

pub mod a;
mod health;
mod origin;
pub mod own;
