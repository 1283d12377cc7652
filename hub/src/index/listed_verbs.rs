//! The index's methods for endpoints that are not pods, and for Services that list pods.

use std::collections::BTreeSet;

use portreeve_api::plan;
use portreeve_api::refs::ObjectRef;

use super::Index;
use super::listed::{ListedService, Slices};
use super::matches::Name;
use crate::selection::Selection;

// === impl Index ===

impl Index {
    /// Sets the contents of the EndpointSlices of a Service, given by namespace and name. `None` means that it has none.
    pub fn set_slices(&mut self, service: &(Name, Name), slices: Option<&Slices>, now_ms: i64) {
        let before = self.selections.listed_mut().set_service(service, slices);
        let empty = Slices::default();
        let now = slices.unwrap_or(&empty);
        let moved: Vec<Name> = before.pods.symmetric_difference(&now.pods).cloned().collect();
        for uid in moved {
            self.renew_pod(&uid, now_ms);
        }
        let selection = Selection::Service { namespace: service.0.clone(), name: service.1.clone() }.name();
        let kept: BTreeSet<&str> = now.addresses.iter().map(|endpoint| endpoint.uid.as_str()).collect();
        for gone in before.addresses.iter().filter(|endpoint| !kept.contains(endpoint.uid.as_str())) {
            self.set_listed(&selection, &Name::from(gone.uid.as_str()), None);
        }
        for endpoint in &now.addresses {
            self.set_listed(&selection, &Name::from(endpoint.uid.as_str()), Some(endpoint.clone()));
        }
    }

    /// Takes the complete list of Services.
    pub fn reset_services(&mut self, found: Vec<ListedService>, now_ms: i64) {
        let listed: BTreeSet<&(Name, Name)> = found.iter().map(|(at, ..)| at).collect();
        let known = self.selections.listed().services();
        let gone: Vec<_> = known.filter(|at| !listed.contains(at)).cloned().collect();
        for at in gone {
            self.set_slices(&at, None, now_ms);
            self.set_service(at, None);
        }
        for (at, spec, slices) in found {
            self.set_slices(&at, Some(&slices), now_ms);
            self.set_service(at, Some(spec));
        }
    }

    /// Makes an object an endpoint of the groups of `owners`, and of no others.
    pub(super) fn set_member(
        &mut self,
        object: &ObjectRef,
        owners: Vec<ObjectRef>,
        endpoint: Option<plan::Endpoint>,
    ) {
        let selections: BTreeSet<Name> =
            owners.into_iter().map(|owner| Selection::Objects(owner).name()).collect();
        let uid = Name::from(object.to_string());
        for gone in self.selections.listed_mut().set_object(object, selections.clone()) {
            self.set_listed(&gone, &uid, None);
        }
        for selection in selections {
            let endpoint =
                endpoint.clone().map(|endpoint| plan::Endpoint { uid: uid.to_string(), ..endpoint });
            self.set_listed(&selection, &uid, endpoint);
        }
    }

    pub(super) fn set_listed(&mut self, selection: &Name, uid: &Name, endpoint: Option<plan::Endpoint>) {
        self.selections.listed_mut().set(selection, uid, endpoint.clone());
        self.set_endpoint(selection, uid, endpoint);
    }
}
