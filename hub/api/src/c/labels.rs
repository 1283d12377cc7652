//! References from one object to another, by a field or by labels, see [`Reference`] (C17).

use std::fmt;

use kube::core::ObjectMeta;

/// What later versions of EPIC put before the names of its labels.
pub const PREFIX: &str = "epic.acnodal.io/";

/// The label that names an object's account.
pub const OWNING_ACCOUNT: &str = "owning-account";
/// The label that names the ServicePrefix with a group's or a load balancer's pool.
pub const OWNING_SERVICE_PREFIX: &str = "owning-serviceprefix";
/// The label that names a load balancer's group.
pub const OWNING_SERVICE_GROUP: &str = "owning-servicegroup";
/// The label that names a load balancer's group, of the kind LBServiceGroup.
pub const OWNING_LB_SERVICE_GROUP: &str = "owning-lbservicegroup";
/// The label that names an endpoint's load balancer.
pub const OWNING_LOAD_BALANCER: &str = "owning-loadbalancer";
/// The label that repeats an endpoint's cluster.
pub const OWNING_CLUSTER: &str = "owning-cluster";

/// The name of the object that is referred to; `None` if the object refers to none. The spec's field counts first, then
/// the label with [`PREFIX`], then the label without it (C.6).
pub type Reference = Result<Option<String>, Disagreement>;

/// Two places of one object that should name the same object, and name different ones. The object's reference is not
/// resolved (C17).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{first} and {second} differ: give the same name, or only one of them")]
pub struct Disagreement {
    /// The place that counts first.
    pub first: Place,
    /// The place that names another object.
    pub second: Place,
}

/// A place in an object that names another object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The field in the API server's notation, for example `metadata.labels[owning-account]`.
    pub path: String,
    /// The name in it.
    pub name: String,
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.path, self.name)
    }
}

/// Returns the reference that a field and labels make. Empty texts count as none.
///
/// # Errors
/// Returns the first two places that disagree.
pub(super) fn reference(field: Option<(&str, &str)>, meta: &ObjectMeta, labels: &[&str]) -> Reference {
    let keys = labels.iter().map(|label| format!("{PREFIX}{label}"));
    let keys = keys.chain(labels.iter().map(|label| (*label).to_owned()));
    let labelled = keys.filter_map(|key| {
        let name = meta.labels.as_ref()?.get(&key)?.clone();
        Some(Place { path: format!("metadata.labels[{key}]"), name })
    });
    let field = field.map(|(path, name)| Place { path: path.to_owned(), name: name.to_owned() });
    let mut places = field.into_iter().chain(labelled).filter(|place| !place.name.is_empty());
    let Some(first) = places.next() else { return Ok(None) };
    match places.find(|place| place.name != first.name) {
        Some(second) => Err(Disagreement { first, second }),
        None => Ok(Some(first.name)),
    }
}
