//! From custom resources to Plans: one file per API, pure.

use std::collections::BTreeMap;

use portreeve_api::conditions::Reason;
use portreeve_api::{plan, selector};

use crate::index::Name;

pub mod a;

/// Where the selectors of namespaced objects look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SelectorScope {
    /// In the object's own namespace.
    #[default]
    Namespace,
    /// In every namespace, as the replaced control planes did.
    Cluster,
}

/// A set of pods by selector, shared by all who ask for the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Canonical and unique: `<namespace or *>/<selector>`; also the name of the Group.
    pub name: Name,
    /// The namespace that is looked in; none: all.
    pub namespace: Option<Name>,
    /// The requirements.
    pub selector: plan::Selector,
}

/// What became of an acceptable object.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The Plan.
    pub plan: plan::Plan,
    /// The proxies that it is for.
    pub workload: Selection,
    /// The groups that its clusters name.
    pub groups: Vec<Selection>,
    /// What a person should know though it works, with the reason's name.
    pub warnings: Vec<(Reason, String)>,
}

/// Why an object was not accepted, in words a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", reason.as_str())]
pub struct Rejection {
    /// Machine-readable.
    pub reason: Reason,
    /// Which field, what is wrong, what to do.
    pub message: String,
}

// === impl Selection ===

impl Selection {
    /// The pods with all of these labels, in `namespace` or everywhere.
    pub fn of_labels(labels: &BTreeMap<String, String>, namespace: &str, scope: SelectorScope) -> Self {
        let namespace = match scope {
            SelectorScope::Namespace => Some(Name::from(namespace)),
            SelectorScope::Cluster => None,
        };
        let selector = selector::from_map(labels);
        let name = format!("{}/{}", namespace.as_deref().unwrap_or("*"), selector.canonical()).into();
        Self { name, namespace, selector }
    }
}
