//! The keeper's role: one small process per supervised proxy, the proxy's parent. Entry point: [`run`].
//!
//! A keeper owns one directory. The kernel's lock on the file `lock` in it is the only truth about "a keeper is alive"; all
//! other files are notes: `spec.json` (wanted, written by the agent) and `state.json` (observed, written by the keeper).

pub(crate) mod admin;
pub mod backoff;
mod child;
pub mod dir;
mod event;
pub(crate) mod handle;
pub mod handover;
mod heir;
pub(crate) mod held;
mod link;
pub mod machine;
pub mod memory;
mod pair;
mod parent;
pub(crate) mod predecessor;
mod run;
mod shm;
pub mod spec;
pub mod state;
mod tail;
mod usage;
pub mod wire;

pub use run::{PodSettings, Settings, ready, run, run_in_pod};
pub use spec::{Order, Spec, SpecError};
pub use state::{Exit, Phase, State, Usage};
