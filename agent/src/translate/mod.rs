//! From Plans to a proxy's own configuration: pure.
//!
//! A folder for each kind of proxy ([`envoy`]), and beside it what all kinds share: what is translated ([`request`]),
//! what a listener binds ([`bind`]), what endpoint sources stand for ([`sources`]), a cluster's endpoints ([`candidates`])
//! and their order under a key ([`rank`]), what is refused ([`lacks`]) and what is told ([`outcome`]). What differs is behind
//! one trait ([`model`]). Names are qualified by the Plan, so that they need not be unique across custom resources.

pub mod bind;
pub mod candidates;
pub mod envoy;
pub mod kind;
pub mod lacks;
pub mod model;
pub mod outcome;
pub mod rank;
pub mod request;
pub mod sources;

pub use bind::Families;
pub(crate) use candidates::pick;
pub use kind::ProxyKind;
pub use model::{Output, ProxyModel, Translation};
pub use outcome::{Census, Remark};
pub use request::{Defaults, Lookup, Request, qualified};
