//! The body that adds an upstream cluster to a service: [`NewCluster::parse`].

use portreeve_api::c::schema::MAX_CLUSTER;

use super::bad_request::BadRequest;
use super::body;
use super::field::Field;
use crate::path::is_cluster;

/// An upstream cluster that a client adds: POST …/services/S/clusters (seed C.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCluster {
    /// The cluster's name, see [`is_cluster`].
    pub cluster: String,
}

// === impl NewCluster ===

impl NewCluster {
    /// Reads `{cluster-id}`.
    ///
    /// # Errors
    /// Returns an error if the id is missing, empty, or can't be the name of a cluster.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        let body = body::read(body)?;
        name(&Field::root(&body).child("cluster-id")?).map(|cluster| Self { cluster })
    }
}

/// Reads the name of an upstream cluster.
pub(super) fn name(field: &Field<'_>) -> Result<String, BadRequest> {
    let name = field.required_text(MAX_CLUSTER)?;
    match is_cluster(&name) {
        true => Ok(name),
        false => Err(field.bad("must have no control characters, and must be neither \".\" nor \"..\"")),
    }
}
