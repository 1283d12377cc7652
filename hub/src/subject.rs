//! An object as the hub serves it ([`Subject`]): what its conditions follow from, beside what agents report.

use std::collections::BTreeSet;

use portreeve_xds::Name;

use crate::verdict::Verdict;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// It opens listeners, and has a Plan.
    Plan,
    /// A NodeProxy: its nodes report on it as they do on Plans.
    NodeProxy,
    /// Objects that open listeners look it up: it is accepted or not, and nothing else is said of it.
    Part,
}

/// An object, as the hub serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// What it is.
    pub of: Of,
    /// Whether it is accepted, and what it refers to.
    pub verdict: Verdict,
    /// Its Plan, if a version of it is served.
    pub served: Option<Served>,
}

/// A Plan that is served.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Its resource's name.
    pub plan: Name,
    /// Its resource's version: an edit without effect leaves it as it was.
    pub version: u64,
    /// The generation of the object that it was made of, or that would make it anew.
    pub generation: i64,
    /// The nodes with a workload for it.
    pub nodes: BTreeSet<Name>,
    /// NodeProxies whose labels it selects, and which don't take objects of its namespace.
    pub closed: Vec<Name>,
}
