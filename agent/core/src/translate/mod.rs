//! Translates Plans into proxies' own configuration. This module is pure.
//!
//! Each kind of proxy has a crate of its own. Shared by all kinds are the input ([`request`], [`streams`]), the bound
//! addresses ([`bind`]), endpoint sources ([`sources`]), a cluster's endpoints ([`candidates`]) and their
//! order under a key ([`rank`]), unsupported fields ([`lacks`]) and findings ([`outcome`]). One trait hides
//! the differences ([`model`]). Resource names are qualified by the Plan, so that names need not be unique
//! across custom resources.

pub mod bind;
pub mod candidates;
pub mod l7mp;
pub mod lacks;
pub mod model;
pub mod outcome;
pub mod rank;
pub mod request;
pub mod sources;
pub mod streams;

pub use bind::Families;
pub use candidates::pick;
pub use model::{Output, ProxyModel, Translation};
pub use outcome::{Census, Remark};
pub use portreeve_api::model::ProxyKind;
pub use request::{Defaults, Lookup, Request, qualified};
pub use streams::Streams;
