//! The hub: watches custom resources and pods, resolves each resource into a Plan, and gives every node's agent just
//! what concerns it.
//!
//! [`index`] and [`resolve`] are pure; the rest feeds them and carries what they say.

pub mod index;
pub mod resolve;
