//! The keeper: one small process per supervised proxy, the proxy's parent. Entry points: [`run()`] and [`run_in_pod`].
//!
//! A keeper owns one directory. The kernel's lock on the file `lock` in it is the only truth about "a keeper is alive"; all
//! other files are notes: `spec.json` (wanted, written by the agent) and `state.json` (observed, written by the keeper).
//! The agent speaks to it with the messages of [`proto`]; [`wire`] translates them. What only concerns Envoy's program (its
//! bootstrap, command line, base ids, admin interface) is in [`envoy`], what only concerns l7mp's in [`l7mp`]. Where
//! names and messages say Envoy, they mean the proxy, whatever its program is.
//!
//! Keepers outlive agents and run without Kubernetes: this crate depends on no client of it. (rustix, there already for others,
//! is for capabilities and pidfds, which nix does not have; sysinfo reads what a process uses.)
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod backoff;
mod child;
pub mod dir;
pub mod envoy;
mod event;
mod executable;
pub mod handle;
pub mod handover;
mod heir;
pub mod held;
pub mod l7mp;
mod life;
mod link;
pub mod machine;
pub mod memory;
mod pair;
mod parent;
pub mod predecessor;
pub mod proto;
mod run;
pub mod spec;
pub mod state;
mod tail;
mod usage;
pub mod wire;

pub use executable::is_executable;
pub use run::{PodSettings, Settings, ready, run, run_in_pod};
pub use spec::{Order, Program, Spec, SpecError};
pub use state::{Exit, Phase, State, Usage};
