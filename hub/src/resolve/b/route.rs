//! Routes: they become part of the Plans of the VirtualServices and Rules that use them.

use portreeve_api::b::route::{DEFINITION, KIND, Route};
use portreeve_api::kind::Kind;
use portreeve_api::pod;
use portreeve_api::violation::Violation;

use super::USES;
use super::reference::Reference;
use super::virtual_service::hops;
use crate::lookup::FoundBy;
use crate::object::{self, Custom, Role};
use crate::row::Row;

/// How the hub treats Routes.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "br",
    label: "route",
    plural: "routes",
    watch: "watch of routes",
    resource: DEFINITION.resource,
    read: object::read::<Route>,
    removes: |_| false,
    annotations: |_| Vec::new(),
    fields: &pod::FIELDS,
    services: true,
    announces: true,
    interface: false,
    allocates: false,
};

impl Custom for Route {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn strange(&self) -> Vec<String> {
        Self::unknown_fields(self)
    }

    fn what_for(&self) -> Role<'_> {
        Role::Part
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or("default");
        let Ok(form) = self.form() else { return Some(Vec::new()) };
        let key = |name: &str| (USES, Reference::parse(name, namespace).key());
        Some(hops(&form).into_iter().map(key).collect())
    }
}
