//! Target → Plan: a cluster for the rules of other Plans. A Target without a selector is part of the Plans that use it.

use portreeve_api::b::route::{self, Route};
use portreeve_api::b::target::{DEFINITION, KIND, Target};
use portreeve_api::b::virtual_service::{self, VirtualService};
use portreeve_api::kind::Kind;
use portreeve_api::pod;
use portreeve_api::violation::Violation;
use portreeve_xds::Name;

use super::{CLUSTER, JSON_SOCKET_USES, Resolving, USES};
use crate::lookup::{FoundBy, Lookup};
use crate::object::{self, Custom, Rejection, Resolved, Role, Root};
use crate::row::Row;

/// How the hub treats Targets.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "bt",
    label: "target",
    plural: "targets",
    watch: "watch of targets",
    resource: DEFINITION.resource,
    read: object::read::<Target>,
    removes: |_| false,
    annotations: |_| Vec::new(),
    fields: &pod::FIELDS,
    services: true,
    announces: true,
    interface: false,
    allocates: false,
};

impl Custom for Target {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn strange(&self) -> Vec<String> {
        Self::unknown_fields(self)
    }

    fn what_for(&self) -> Role<'_> {
        match self.form() {
            Ok(form) if form.filter.is_none() => Role::Part,
            Ok(_) | Err(_) => Role::Root(self),
        }
    }

    fn fields(&self) -> Option<Vec<FoundBy>> {
        Some(Vec::new())
    }
}

impl Root for Target {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let form = self.form().map_err(|broken| Rejection::of_violations(&broken))?;
        let mut resolving = Resolving::new(&KIND, &self.metadata, lookup)?;
        resolving.warn_of_unknown(Self::unknown_fields(self));
        let namespace = resolving.origin.namespace.clone();
        let filter = form.filter.unwrap_or_default();
        let workload = resolving.pods(&filter, &namespace, "spec.selector");
        resolving.json_socket = resolving.is_used_by_json_sockets_alone();
        resolving.define(CLUSTER, &form.cluster, (&namespace, "spec.cluster"))?;
        Ok(resolving.finish(workload, Vec::new(), Vec::new()))
    }
}

// === impl Resolving ===

impl Resolving<'_, '_> {
    /// Returns whether VirtualServices lead to the object, by themselves or through Routes, and all of them listen by
    /// JSONSocket. Other VirtualServices are asked for only if there is such a one: there may be thousands of calls.
    fn is_used_by_json_sockets_alone(&mut self) -> bool {
        let own: Name = format!("{}/{}", self.origin.namespace, self.origin.name).into();
        let routes = self.lookup.listed::<Route>(&route::KIND, USES, own.clone());
        let routes =
            routes.into_iter().map(|(route, _)| format!("{}/{}", route.namespace, route.name).into());
        let keys: Vec<Name> = std::iter::once(own).chain(routes).collect();
        let mut any = |field| {
            let users =
                |key: &Name| self.lookup.listed::<VirtualService>(&virtual_service::KIND, field, key.clone());
            keys.iter().map(users).any(|users| !users.is_empty())
        };
        any(JSON_SOCKET_USES) && !any(USES)
    }
}
