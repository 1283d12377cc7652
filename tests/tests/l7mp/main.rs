//! The driver on the real l7mp proxy of npm.

mod changes;
mod cost;
mod life;
mod objects;
mod own;
mod rig;
mod unsettled;
