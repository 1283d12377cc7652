//! The pods that a selector means.

use portreeve_api::b::form::PodFilter;
use portreeve_api::b::virtual_service::{self, VirtualService};
use portreeve_api::model::Selector;
use portreeve_api::refs::ObjectRef;
use portreeve_api::selector;
use portreeve_xds::Name;

use super::Resolving;
use super::reference::Reference;
use crate::selection::{PodSelection, SelectorScope};

// === impl Resolving ===

impl Resolving<'_, '_> {
    /// Returns the pods that a selector of an object in this namespace means. A Service that can't be found is noted as missing,
    /// and `field` names its selector.
    pub(super) fn pods(&mut self, filter: &PodFilter, namespace: &str, field: &str) -> PodSelection {
        let scope = match self.lookup.scope() {
            SelectorScope::Namespace => Some(Name::from(namespace)),
            SelectorScope::Cluster => None,
        };
        let mut pods = PodSelection {
            namespace: filter.namespace.as_deref().map(Name::from).or(scope),
            selector: filter.selector.clone(),
            ..PodSelection::default()
        };
        if let Some(service) = &filter.service {
            let namespace = pods.namespace.clone().unwrap_or_else(|| namespace.into());
            match self.behind(service, &namespace) {
                Ok((namespace, more)) => {
                    pods.namespace = Some(namespace);
                    pods.selector.labels.extend(more.labels);
                    pods.selector.fields.extend(more.fields);
                }
                Err(problem) => self.miss(format!("{field}: {problem}")),
            }
        }
        pods
    }

    /// Returns the namespace and the selector of the Service or VirtualService with this name.
    fn behind(&mut self, text: &str, namespace: &str) -> Result<(Name, Selector), String> {
        let reference = Reference::parse(text, namespace);
        let Reference { namespace, name, short, .. } = &reference;
        if let Some(service) = self.lookup.service(namespace, name).filter(|_| *short) {
            return match service.selector.as_ref().filter(|labels| !labels.is_empty()) {
                Some(labels) => Ok((namespace.clone(), selector::from_map(labels))),
                None => Err(format!(
                    "Service {namespace}/{name} has no selector: select the pods by their labels"
                )),
            };
        }
        let object = ObjectRef::namespaced(&virtual_service::KIND, namespace.clone(), name.clone());
        let form = self.lookup.object::<VirtualService>(&object).and_then(|object| object.form().ok());
        let Some(form) = form else {
            return Err(format!("neither a Service nor a VirtualService {namespace}/{name} exists"));
        };
        if form.filter.service.as_deref() == Some(text) {
            return Err(format!(
                "VirtualService {namespace}/{name} selects the pods of the Service {text}, which does not exist"
            ));
        }
        let pods = self.pods(&form.filter, namespace, &object.title());
        Ok((pods.namespace.unwrap_or_else(|| namespace.clone()), pods.selector))
    }
}
