//! From custom resources to Plans: one file per API, pure.

pub mod a;
pub mod b;
pub mod c;
pub mod d;
mod health;
mod origin;
pub mod own;
