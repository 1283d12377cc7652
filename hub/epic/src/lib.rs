//! The protocol of API C's web service (EPIC), without its server: paths ([`path`]), request bodies ([`request`]), answers
//! ([`answer`]), users ([`auth`]), and what keeps peers from wearing the service out ([`rate`], [`cache`]; seed C.5).
//!
//! All of it is synchronous and has neither clock, client nor randomness of its own. The server passes in bytes, objects
//! and the time, and sends what it gets back.
//!
//! bcrypt is a dependency because the users' passwords are stored as htpasswd's bcrypt hashes (seed C.5).

pub mod answer;
pub mod auth;
pub mod cache;
mod deadlines;
mod escape;
pub mod path;
pub mod rate;
pub mod request;
