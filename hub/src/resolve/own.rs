//! The product's own kinds. A NodeProxy opens no listeners: it is a proxy that takes Plans.

use portreeve_api::kind::Kind;
use portreeve_api::own::node_proxy::{DEFINITION, KIND, NodeProxy};
use portreeve_api::violation::Violation;

use crate::object::{self, Custom, Role};
use crate::row::Row;

/// How the hub treats NodeProxies.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "npx",
    label: "nodeproxy",
    plural: "nodeproxies",
    watch: "watch of nodeproxies",
    resource: DEFINITION.resource,
    read: object::read::<NodeProxy>,
    removes: |_| false,
    annotations: |_| Vec::new(),
    fields: &[],
    services: false,
    announces: false,
    interface: false,
    allocates: false,
};

impl Custom for NodeProxy {
    const KIND: &'static Kind = &KIND;

    fn rules(&self) -> Vec<Violation> {
        self.validate()
    }

    fn what_for(&self) -> Role<'_> {
        Role::Proxy(self)
    }
}
