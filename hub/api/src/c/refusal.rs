//! The phrases by which EPIC refuses objects. Its clients search answers for them, so they are the original's (C14).

use super::names::EPIC;

/// Refuses to create an endpoint whose spec another endpoint of the load balancer has.
pub fn duplicate_endpoint(existing: &str) -> String {
    format!("duplicate endpoint: {existing}")
}

/// Refuses to delete a load balancer that still has upstream clusters (C32).
pub fn has_upstream_clusters(namespace: &str, name: &str, clusters: &[String]) -> String {
    format!("LB {namespace}/{name} has upstream clusters, can't delete: [{}]", clusters.join(" "))
}

/// Refuses an EPIC object with another name (C2).
pub fn epic_name() -> String {
    format!("the EPIC object's name must be {EPIC:?}")
}

/// Refuses an EPIC object in another namespace (C2).
pub fn epic_namespace() -> String {
    format!("the EPIC object must be in the {EPIC:?} namespace")
}

/// Refuses to delete the EPIC object, which holds the counters of all ids (C2). The original allowed it.
pub fn epic_deletion() -> String {
    format!("the EPIC object {EPIC}/{EPIC} can't be deleted: it holds the last ids that were given away")
}

/// Refuses an address that can't be parsed. `field` is the field's own name, for example `node-address`.
pub fn bad_address(field: &str, text: &str) -> String {
    format!("bad input: can't parse {field} {text:?}")
}

/// Refuses a load balancer that names no group.
pub fn no_group() -> String {
    "LB has no owning service group label".into()
}
