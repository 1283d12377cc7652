//! Hops of a route: a cluster by its name, or an inline one.

use portreeve_api::b::form::{self, ClusterForm};
use portreeve_api::b::target::{self, Target};
use portreeve_api::model::{Cluster, Elsewhere, Protocol, Socket};
use portreeve_api::refs::{ObjectRef, PlanName, ResourceName};

use super::clusters::Lead;
use super::reference::Reference;
use super::{CLUSTER, Resolving, model};
use crate::object::Rejection;

/// The place of a hop in its object.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The name of the cluster in the Plan if the hop defines it.
    pub(super) name: &'a str,
    /// The namespace of the object.
    pub(super) namespace: &'a str,
    /// The path of the field.
    pub(super) field: &'a str,
}

// === impl Resolving ===

impl Resolving<'_, '_> {
    /// Adds the cluster of a hop to the Plan. `None`: it leads to nothing, which is noted as missing.
    ///
    /// A name is that of a Target, else of a VirtualService, else of a Service, else of a cluster in the proxy's own
    /// configuration, which only the proxy's agent knows.
    pub(super) fn hop(
        &mut self,
        hop: &form::Reference<ClusterForm>,
        place: Place<'_>,
    ) -> Result<Option<Lead>, Rejection> {
        let text = match hop {
            form::Reference::Inline(form) => {
                return self.define(place.name, form, (place.namespace, place.field)).map(Some);
            }
            form::Reference::Named(text) => text,
        };
        let reference = Reference::parse(text, place.namespace);
        if let Some(lead) = self.target(&reference)? {
            return Ok(Some(lead));
        }
        let name = format!("{}/{}", reference.namespace, reference.name);
        if let Some(derived) = self.derive(&reference) {
            return Ok(Some(self.put(&name, derived.socket, derived.endpoints, None)));
        }
        if !reference.short {
            self.miss(format!("{}: {text} does not exist", place.field));
            return Ok(None);
        }
        self.clusters.insert(text.clone(), Cluster::elsewhere(text, Elsewhere::Proxy(text.clone())));
        Ok(Some(Lead { cluster: text.clone(), protocol: None }))
    }

    /// Adds a Target's cluster. `None`: there is no such Target. A Target with a selector is a cluster of its own Plan, so
    /// that all objects on a proxy share it.
    fn target(&mut self, reference: &Reference) -> Result<Option<Lead>, Rejection> {
        if !reference.may_be(&target::KIND) {
            return Ok(None);
        }
        let object =
            ObjectRef::namespaced(&target::KIND, reference.namespace.clone(), reference.name.clone());
        let Some(found) = self.lookup.object::<Target>(&object) else { return Ok(None) };
        let title = object.title();
        let form =
            found.form().map_err(|broken| Rejection::invalid(format!("{title}: {}", first(&broken))))?;
        let name = format!("{}/{}", reference.namespace, reference.name);
        if form.filter.is_none() {
            return self.define(&name, &form.cluster, (&reference.namespace, &title)).map(Some);
        }
        let protocol = self.protocol(&form.cluster, &reference.namespace);
        let resource = ResourceName::new(&PlanName::from(&object), CLUSTER).to_string();
        let cluster = Cluster {
            socket: protocol.map(|protocol| Socket::new(protocol, None)),
            balancer: form.cluster.balancer.as_ref().and_then(|one| self.balancer(one)),
            ..Cluster::elsewhere(&name, Elsewhere::Plan(resource))
        };
        self.clusters.insert(name.clone(), cluster);
        Ok(Some(Lead { cluster: name, protocol }))
    }

    /// Returns the protocol of a cluster that another Plan defines.
    fn protocol(&mut self, form: &ClusterForm, namespace: &str) -> Option<Protocol> {
        let own = form.socket.as_ref().map(|socket| model::protocol(socket.protocol));
        let service = form.service.as_ref().filter(|_| own.is_none());
        own.or_else(|| service.and_then(|text| self.listens(&Reference::parse(text, namespace))))
    }
}

fn first(broken: &[portreeve_api::violation::Violation]) -> String {
    broken.first().map(|one| format!("{}: {}", one.path, one.message)).unwrap_or_default()
}
