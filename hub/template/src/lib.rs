//! Renders API C's templates of Envoy's configuration: [`render`] (seed C.2 EnvoyConfigSpec, C.3 "Templates", C.6 "v2
//! templates", C16).
//!
//! Go templates ([`go`]) become text, text becomes JSON, JSON of Envoy's API v2 becomes JSON of v3, and that becomes protobuf
//! messages. Templates belong to accounts, so they can't run code, reach files, or open sockets that are not the
//! LoadBalancer's. All of it is synchronous and has neither clock, client nor files.
//!
//! (prost-reflect makes messages of JSON, because prost has no reflection.)

mod adopt;
mod convert;
mod descriptors;
mod error;
mod expand;
mod facts;
pub mod go;
mod list;
mod message;
mod references;
mod rendered;
mod resource;
mod sockets;
mod text;
mod upstream;

use portreeve_api::c::envoy_config::EnvoyConfigSpec;

pub use adopt::{AdoptError, Adopted, AdoptedCluster, AdoptedListener, adopt};
pub use descriptors::{DescribeError, Descriptors};
pub use error::{Error, OUTPUT_BYTES, RESOURCES, Reason, VALUES};
pub use facts::{Cluster, Endpoint, Facts, Port, Protocol};
pub use message::{FieldError, Problem};
pub use rendered::{Rendered, Resource, Secret, Socket, Upstream};

/// Returns the resources that a template makes for a LoadBalancer. Their order is that of the template, then of the facts.
/// Equal resources of a list are one.
///
/// # Errors
/// Returns the first error, with its template. Nothing of a template is left out silently.
pub fn render(spec: &EnvoyConfigSpec, facts: &Facts, descriptors: &Descriptors) -> Result<Rendered, Error> {
    let Some(resources) = &spec.envoy_resources else { return Ok(Rendered::default()) };
    let pieces = expand::expand(resources, facts)?;
    let mut maker = resource::Maker::new(spec, facts, descriptors);
    for piece in pieces {
        maker.add(piece)?;
    }
    Ok(maker.finish(resources))
}
