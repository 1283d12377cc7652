//! The owners of objects that ask for their owners to be told when they are applied: [`Owner`], and what each is to be told
//! ([`Ledger`]). Pure.

mod ledger;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::ApiResource;
use portreeve_api::refs::ObjectRef;
use portreeve_xds::Name;
use serde_json::{Map, Value};

use crate::kinds;
use crate::row::Row;

pub use ledger::{Entries, Ledger};

/// The entries of children in an owner's status: the generation of each that is applied.
pub type Children = BTreeMap<ObjectRef, i64>;

/// An object that owns another one of its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Its group and version, for example `apps/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, which is that of its children.
    pub namespace: Name,
    /// Its name.
    pub name: String,
    /// Its uid. An object with another uid is another object.
    pub uid: String,
}

/// Returns the path of an object under which its owners' statuses have it, for example `/l7mp.io/v1/Rule/default/call`.
/// `None` would be a bug: every kind has a row.
pub fn path(child: &ObjectRef) -> Option<String> {
    let resource = (kinds::row(child.kind)?.resource)();
    Some(format!("/{}/{}/{}/{}", resource.api_version, resource.kind, child.namespace, child.name))
}

/// Returns the entries of children of known kinds. The generation of an entry that isn't a number is 0, which no object has.
pub fn children(entries: Map<String, Value>) -> Children {
    let entries = entries.into_iter();
    entries.filter_map(|(path, told)| Some((parse(&path)?, told.as_i64().unwrap_or_default()))).collect()
}

/// Reads a child's path; the inverse of [`path`].
fn parse(path: &str) -> Option<ObjectRef> {
    let parts: Vec<&str> = path.split('/').collect();
    let ["", group, version, kind, namespace, name] = parts.as_slice() else { return None };
    let api_version = format!("{group}/{version}");
    let row = row(&api_version, kind)?;
    row.kind.namespaced.then(|| ObjectRef::namespaced(row.kind, *namespace, *name))
}

/// Returns the row of a kind, if it is one of the hub's own.
pub fn row(api_version: &str, kind: &str) -> Option<&'static Row> {
    let is_it = |resource: ApiResource| resource.api_version == api_version && resource.kind == kind;
    kinds::ALL.into_iter().find(|row| is_it((row.resource)()))
}

// === impl Owner ===

impl Owner {
    /// Returns an object of one of the hub's own kinds as an owner. `None` would be a bug: every kind has a row.
    pub fn own(object: &ObjectRef, uid: &str) -> Option<Self> {
        let resource = (kinds::row(object.kind)?.resource)();
        Some(Self {
            api_version: resource.api_version,
            kind: resource.kind,
            namespace: object.namespace.clone(),
            name: object.name.to_string(),
            uid: uid.to_owned(),
        })
    }

    /// Returns the owners of an object, without references that can't be part of a URL: no object has such a name.
    pub fn all_of(meta: &ObjectMeta) -> BTreeSet<Self> {
        let Some(namespace) = &meta.namespace else { return BTreeSet::new() };
        let references = meta.owner_references.iter().flatten();
        references.filter_map(|reference| Self::of(namespace, reference)).collect()
    }

    fn of(namespace: &str, reference: &OwnerReference) -> Option<Self> {
        let OwnerReference { api_version, kind, name, uid, .. } = reference;
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("core", api_version));
        let plain = [group, version, kind, name].iter().all(|part| is_plain(part));
        plain.then(|| Self {
            api_version: api_version.clone(),
            kind: kind.clone(),
            namespace: namespace.into(),
            name: name.clone(),
            uid: uid.clone(),
        })
    }
}

/// Whether a text can be a segment of a URL's path as it is.
fn is_plain(part: &str) -> bool {
    let plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    plain && !part.trim_matches('.').is_empty()
}
