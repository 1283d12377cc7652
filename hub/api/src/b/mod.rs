//! API B, `l7mp.io/v1`: the mesh of l7mp proxies. A VirtualService opens a port with rules, a Target is a cluster, a Route
//! a way through clusters, and a Rule a rule for a list in the proxies' own configuration.
//!
//! Two spellings are accepted: that of the CRDs which were deployed (`spec.listener.spec.UDP.port`), and that of the
//! design document (`spec.udp.port`). Many parts may be a name or a definition, which a structural schema can't say. So the
//! schema gives the outline, and the hub checks the rest: [`form`] has the result, the same for every spelling.

mod cluster;
pub mod convert;
mod field;
pub mod form;
mod pods;
mod predicate;
pub mod route;
pub mod rule;
mod rules;
mod schema;
mod seen;
mod socket;
mod status;
pub mod target;
#[cfg(test)]
mod tests;
pub mod virtual_service;

pub use status::{Children, MeshStatus};
