//! Endpoints that are no pods ([`Listed`]): addresses in EndpointSlices, and objects that are endpoints themselves. Also which
//! pods a Service's EndpointSlices list.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portreeve_api::plan;
use portreeve_api::pod::service_attribute;
use portreeve_api::refs::ObjectRef;

use super::matches::{Labels, Name};

/// What the EndpointSlices of a Service list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slices {
    /// Uids of pods.
    pub pods: BTreeSet<Name>,
    /// Addresses that are no pod's, each with a uid that no pod has.
    pub addresses: Vec<plan::Endpoint>,
}

/// Endpoints that are no pods, by the name of the selection that finds them.
#[derive(Default)]
pub struct Listed {
    endpoints: HashMap<Name, BTreeMap<Name, plan::Endpoint>>,
    /// The attributes of pods that Services list.
    attributes: HashMap<Name, BTreeSet<String>>,
    services: HashMap<(Name, Name), Slices>,
    /// The selections that find an object.
    of_object: HashMap<ObjectRef, BTreeSet<Name>>,
}

// === impl Listed ===

impl Listed {
    /// The endpoints that a selection finds.
    pub fn of(&self, selection: &Name) -> impl Iterator<Item = &plan::Endpoint> {
        self.endpoints.get(selection).into_iter().flat_map(BTreeMap::values)
    }

    /// Puts, changes or (`None`) takes away an endpoint of a selection.
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

    /// The selections that are to find an object; answers with those that do no more.
    pub fn set_object(&mut self, object: &ObjectRef, selections: BTreeSet<Name>) -> Vec<Name> {
        let before = self.of_object.remove(object).unwrap_or_default();
        let gone = before.difference(&selections).cloned().collect();
        if !selections.is_empty() {
            self.of_object.insert(object.clone(), selections);
        }
        gone
    }

    /// What a Service's EndpointSlices list now; answers with what they listed before.
    pub fn set_service(&mut self, service: &(Name, Name), slices: Option<&Slices>) -> Slices {
        let before = match slices {
            Some(slices) => self.services.insert(service.clone(), slices.clone()),
            None => self.services.remove(service),
        };
        let (before, none) = (before.unwrap_or_default(), BTreeSet::new());
        let now = slices.map_or(&none, |slices| &slices.pods);
        let attribute = service_attribute(&service.0, &service.1);
        for gone in before.pods.difference(now) {
            let Some(attributes) = self.attributes.get_mut(gone) else { continue };
            attributes.remove(&attribute);
            if attributes.is_empty() {
                self.attributes.remove(gone);
            }
        }
        for new in now.difference(&before.pods) {
            self.attributes.entry(new.clone()).or_default().insert(attribute.clone());
        }
        before
    }

    /// Adds to a pod's attributes those of the Services that list it.
    pub fn complete(&self, uid: &Name, attributes: &mut Labels) {
        let services = self.attributes.get(uid).into_iter().flatten();
        attributes.extend(services.map(|service| (service.clone(), String::new())));
    }
}
