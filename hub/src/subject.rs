//! An object as the hub serves it ([`Subject`]): together with the agents' reports, it determines the object's
//! conditions.

use std::collections::BTreeSet;
use std::sync::Arc;

use portreeve_api::model::ProxyKind;
use portreeve_xds::Name;

use crate::object::Told;
use crate::verdict::Verdict;

/// The type of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// It opens listeners and has a Plan.
    Plan,
    /// It is a NodeProxy of this kind. Agents report on it as on a Plan.
    NodeProxy(ProxyKind),
    /// Objects that open listeners look it up. It has no conditions beyond being accepted or rejected.
    Part,
}

/// An object, as the hub serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The object's type.
    pub of: Of,
    /// Whether the object is accepted, and its references.
    pub verdict: Verdict,
    /// Its Plan, if a version of it is served.
    pub served: Option<Served>,
    /// Its contributions to the statuses of other objects.
    pub told: Vec<Told>,
}

/// A Plan that is served.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Name of the Plan resource.
    pub plan: Name,
    /// Version of the Plan resource. An edit without effect doesn't change it.
    pub version: u64,
    /// The latest generation of the object that results in this Plan.
    pub generation: i64,
    /// Nodes with a workload that the object selects. Objects with the same selection share them.
    pub nodes: Arc<BTreeSet<Name>>,
    /// The name by which the object selects its proxies; `None` if it selects them by labels, or is a proxy itself.
    pub proxy_name: Option<String>,
    /// NodeProxies that the object selects, but which don't allow its namespace.
    pub closed: Vec<Name>,
}
