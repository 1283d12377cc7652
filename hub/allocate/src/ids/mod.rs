//! Ids from counters in the status of a parent object: group, service and tunnel ids (seed C.2, C.3 "Ids", rows C3 to C6).
//!
//! The entry point is [`draw`]. The types enforce the order of the writes:
//!
//! 1. Read the parent, then the objects that carry ids below it. [`draw`] returns a [`Draw`] with the counter to store.
//! 2. Replace the parent's status with that counter and the resourceVersion of the read. A 409, or a write without an answer,
//!    ends the draw: drop it and begin again at 1.
//! 3. [`Draw::confirm`] takes the API server's answer and returns a [`Stored`]. Only a [`Stored`] yields the id.
//! 4. Write the id into one object. If that object has an id by now, drop this one.
//!
//! So an allocator that ends between 2 and 4 leaves a gap. It never leaves an id that is handed out twice.
//!
//! ```
//! use portreeve_allocate::ids::{Answer, Draw, Reading, ServiceId, draw};
//!
//! let reading = Reading { parent: "Account epic-a/a", version: "7", counter: Some(4) };
//! let draw: Draw<ServiceId> = draw(reading, [(3, "LoadBalancer epic-a/web")])?;
//! // Here the shell replaces the status with `draw.counter()` and `draw.version()`.
//! let stored = draw.confirm(Answer { version: "8", counter: Some(5) })?;
//! assert_eq!(stored.into_id().get(), 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A draw that isn't stored yields no id:
//!
//! ```compile_fail,E0599
//! # use portreeve_allocate::ids::{Draw, ServiceId};
//! fn too_early(draw: Draw<ServiceId>) -> ServiceId {
//!     draw.into_id()
//! }
//! ```

mod draw;
mod kind;

pub use draw::{Answer, Draw, HighId, NotStored, Reading, Stored, UsedUp, draw};
pub use kind::{GroupId, Id, IdKind, ServiceId, TunnelId};
