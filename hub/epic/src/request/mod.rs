//! The bodies of requests: [`NewService`], [`NewCluster`] and [`NewEndpoint`], and the name of a new service's object
//! ([`service_name`]; seed C.5).
//!
//! Keys match in any case at every depth, since PureLB sends `Endpoint` and `Port`. If two keys differ only in case, the
//! last one counts. Unknown fields are ignored, and `null` is the same as none.

mod bad_request;
mod body;
mod cluster;
mod endpoint;
mod field;
mod service;
mod service_name;

pub use bad_request::BadRequest;
pub use body::MAX_BODY;
pub use cluster::NewCluster;
pub use endpoint::NewEndpoint;
pub use service::NewService;
pub use service_name::service_name;
