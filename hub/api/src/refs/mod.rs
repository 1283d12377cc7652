//! References by name. Each is a type whose text form is written and parsed in one place: an object ([`ObjectRef`]), a
//! Plan ([`PlanName`]), a resource of a proxy ([`ResourceName`]), a proxy ([`ProxyId`]), a Secret's part
//! ([`SecretName`]).
//!
//! `Display` and `FromStr` of each type are inverses.

mod cluster_path;
mod object;
mod plan_name;
mod proxy_id;
mod resource_name;
mod secret_name;
#[cfg(test)]
mod tests;

use std::fmt;

pub use cluster_path::ClusterPath;
pub use object::ObjectRef;
pub use plan_name::PlanName;
pub use proxy_id::ProxyId;
pub use resource_name::ResourceName;
pub use secret_name::{SecretName, SecretPart};

/// A text that is not a reference of the expected form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct NotAReference {
    /// The rejected text.
    pub text: String,
    /// A description of the expected form.
    pub wanted: &'static str,
}

// === impl NotAReference ===

impl NotAReference {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: text.to_owned(), wanted }
    }
}

/// Writes parts with slashes between them.
fn join(f: &mut fmt::Formatter<'_>, parts: &[&str]) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        let slash = if i == 0 { "" } else { "/" };
        write!(f, "{slash}{part}")?;
    }
    Ok(())
}
