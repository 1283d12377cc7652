//! ServicePrefix: a pool of public addresses.

use portreeve_api::c::names::EPIC;
use portreeve_api::c::service_prefix::{DEFINITION, KIND, ServicePrefix, ServicePrefixForm};
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_api::violation::Violation;
use portreeve_xds::Name;

use super::age::age;
use crate::lookup::{FoundBy, Lookup};
use crate::object::{self, Custom, Role};
use crate::row::Row;

/// The field that all ServicePrefixes have, with an empty value: by it, all of them are found.
const EVERY: &str = "every";

/// Returns all ServicePrefixes, the oldest first. The pool of a younger one must not overlap (C.2).
pub fn by_age<'a>(lookup: &mut Lookup<'a>) -> Vec<&'a ServicePrefix> {
    let mut all = lookup.listed::<ServicePrefix>(&KIND, EVERY, "");
    all.sort_by_key(|(key, one)| age(key, &one.metadata));
    all.into_iter().map(|(_, one)| one).collect()
}

/// Returns a ServicePrefix by its name. `None`: there is none, or it breaks a rule.
pub fn find(lookup: &mut Lookup<'_>, name: &str) -> Option<ServicePrefixForm> {
    let key = ObjectRef::namespaced(&KIND, EPIC, name);
    lookup.object::<ServicePrefix>(&key).and_then(|found| found.form().ok())
}

/// How the hub treats ServicePrefixes.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "cp",
    label: "epic-serviceprefix",
    plural: "serviceprefixes",
    watch: "watch of serviceprefixes",
    resource: DEFINITION.resource,
    read: object::read::<ServicePrefix>,
    removes: |_| false,
    annotations: |_| Vec::new(),
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: true,
};

impl Custom for ServicePrefix {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Part
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        Some(vec![(EVERY, Name::default())])
    }
}
