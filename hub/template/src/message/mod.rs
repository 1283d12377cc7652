//! Shapes the JSON of a resource until it is a message of Envoy's API v3 that an account may have ([`Shaper`]).

mod denied;
mod extension;
mod problem;
mod types;
mod v2;
mod walk;

pub use problem::{FieldError, Problem};
pub use walk::Shaper;
