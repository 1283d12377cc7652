//! The product's own kinds. A NodeProxy opens no listeners: it is a proxy that takes Plans.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::door;
use portreeve_api::kind::Kind;
use portreeve_api::own::node_proxy::{DEFINITION, KIND, NodeProxy};
use portreeve_api::violation::Violation;
use serde_json::Value;

use crate::object::{Object, Role};
use crate::row::Row;
use crate::services::{Names, Services};

/// How the hub treats NodeProxies.
pub const ROW: Row = Row {
    kind: &KIND,
    letters: "npx",
    label: "nodeproxy",
    plural: "nodeproxies",
    watch: "watch of nodeproxies",
    resource: DEFINITION.resource,
    read: |value| door::parse::<NodeProxy>(value).map(|(object, told)| (object.boxed(), told)),
    finalizer: None,
    opens_listeners: false,
};

impl Object for NodeProxy {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn violations(&self) -> Vec<Violation> {
        self.validate()
    }

    fn role(&self) -> Role<'_> {
        Role::Proxy(self)
    }

    fn route(&mut self, _services: &Services<'_>, _names: &mut Names) -> Vec<String> {
        Vec::new()
    }

    fn to_value(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    fn boxed(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}
