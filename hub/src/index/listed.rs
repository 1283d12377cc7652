//! Endpoints that are not pods ([`Listed`]): addresses in EndpointSlices, and objects that are endpoints themselves. Also
//! records which pods are listed in a Service's EndpointSlices.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceSpec;
use portreeve_api::plan;
use portreeve_api::pod::service_attribute;
use portreeve_api::refs::ObjectRef;

use super::matches::{Labels, Name};
use crate::keyed_sets::KeyedSets;

/// The contents of a Service's EndpointSlices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slices {
    /// The UIDs of the listed pods.
    pub pods: BTreeSet<Name>,
    /// The listed addresses that belong to no pod. Each has a UID that differs from every pod's.
    pub addresses: Vec<plan::Endpoint>,
}

/// A Service by namespace and name, with its spec and the contents of its EndpointSlices.
pub type ListedService = ((Name, Name), Arc<ServiceSpec>, Slices);

/// Endpoints that are not pods, by the name of the selection that matches them.
#[derive(Default)]
pub struct Listed {
    endpoints: HashMap<Name, BTreeMap<Name, plan::Endpoint>>,
    /// The attributes that Services add to each pod they list.
    attributes: KeyedSets<Name, String>,
    services: HashMap<(Name, Name), Slices>,
    /// The selections that match each object.
    of_object: HashMap<ObjectRef, BTreeSet<Name>>,
}

// === impl Listed ===

impl Listed {
    /// Returns the endpoints that a selection matches, apart from pods.
    pub fn of(&self, selection: &Name) -> impl Iterator<Item = &plan::Endpoint> {
        self.endpoints.get(selection).into_iter().flat_map(BTreeMap::values)
    }

    /// Adds or replaces an endpoint of a selection; `None` removes it.
    pub fn set(&mut self, selection: &Name, uid: &Name, endpoint: Option<plan::Endpoint>) {
        let found = self.endpoints.entry(selection.clone()).or_default();
        match endpoint {
            Some(endpoint) => drop(found.insert(uid.clone(), endpoint)),
            None => drop(found.remove(uid)),
        }
        if found.is_empty() {
            self.endpoints.remove(selection);
        }
    }

    /// Sets the selections that match an object. Returns those that no longer do.
    pub fn set_object(&mut self, object: &ObjectRef, selections: BTreeSet<Name>) -> Vec<Name> {
        let before = self.of_object.remove(object).unwrap_or_default();
        let gone = before.difference(&selections).cloned().collect();
        if !selections.is_empty() {
            self.of_object.insert(object.clone(), selections);
        }
        gone
    }

    /// Replaces the contents of a Service's EndpointSlices. Returns the previous contents.
    pub fn set_service(&mut self, service: &(Name, Name), slices: Option<&Slices>) -> Slices {
        let before = match slices {
            Some(slices) => self.services.insert(service.clone(), slices.clone()),
            None => self.services.remove(service),
        };
        let (before, none) = (before.unwrap_or_default(), BTreeSet::new());
        let now = slices.map_or(&none, |slices| &slices.pods);
        let attribute = service_attribute(&service.0, &service.1);
        for gone in before.pods.difference(now) {
            self.attributes.remove(gone, &attribute);
        }
        for new in now.difference(&before.pods) {
            self.attributes.insert(new.clone(), attribute.clone());
        }
        before
    }

    /// Returns the Services with known EndpointSlices, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &(Name, Name)> {
        self.services.keys()
    }

    /// Adds to a pod's attributes those of the Services that list it.
    pub fn complete(&self, uid: &Name, attributes: &mut Labels) {
        let services = self.attributes.of(uid);
        attributes.extend(services.map(|service| (service.clone(), String::new())));
    }
}
