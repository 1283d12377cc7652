//! Kinds whose installed definition has no status subresource ([`Statusless`]). Another project may have installed it so.
//! Their objects are served as usual; what their status would say is told as events.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResourceList, Condition};
use kube::Client;
use kube::core::ApiResource;
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;

/// How often the definitions of such kinds are looked at again.
const LOOK: Duration = Duration::from_secs(10);

/// The kinds without a status subresource.
#[derive(Default)]
pub struct Statusless {
    kinds: BTreeMap<&'static Kind, Told>,
}

/// What was told of a kind's objects.
struct Told {
    conditions: HashMap<ObjectRef, Vec<Condition>>,
    /// When the definition was looked at last.
    looked: Instant,
}

/// Whether the API server serves the status of a kind.
///
/// # Errors
/// The API server doesn't answer.
pub async fn has_status(client: &Client, resource: &ApiResource) -> kube::Result<bool> {
    let served = client.list_api_group_resources(&resource.api_version).await?;
    Ok(lists_status(&served, resource))
}

fn lists_status(served: &APIResourceList, resource: &ApiResource) -> bool {
    let status = format!("{}/status", resource.plural);
    served.resources.iter().any(|one| one.name == status)
}

// === impl Statusless ===

impl Statusless {
    /// A kind turned out to have no status subresource.
    pub fn add(&mut self, kind: &'static Kind, resource: &ApiResource, now: Instant) {
        if self.kinds.contains_key(kind) {
            return;
        }
        self.kinds.insert(kind, Told { conditions: HashMap::new(), looked: now });
        let definition = format!("{}.{}", resource.plural, resource.group);
        tracing::warn!(
            definition,
            install =
                format!("kubectl apply --server-side --force-conflicts -f deploy/crds/{definition}.yaml"),
            "the installed definition has no status subresource: objects are served, and their conditions are published \
             as events; install this release's definition to get statuses"
        );
    }

    /// A kind has a status subresource by now. What was told of its objects is forgotten.
    pub fn remove(&mut self, kind: &'static Kind) {
        if self.kinds.remove(kind).is_some() {
            tracing::info!(
                kind = kind.name,
                "the definition has a status subresource now: statuses are written"
            );
        }
    }

    /// Whether a kind has no status subresource.
    pub fn has(&self, kind: &Kind) -> bool {
        self.kinds.contains_key(kind)
    }

    /// The conditions of an object that were told; `None`: its kind has statuses.
    pub fn told(&self, object: &ObjectRef) -> Option<Vec<Condition>> {
        let told = self.kinds.get(object.kind)?;
        Some(told.conditions.get(object).cloned().unwrap_or_default())
    }

    /// These conditions of an object were told.
    pub fn tell(&mut self, object: &ObjectRef, conditions: Vec<Condition>) {
        if let Some(told) = self.kinds.get_mut(object.kind) {
            told.conditions.insert(object.clone(), conditions);
        }
    }

    /// An object is gone.
    pub fn forget(&mut self, object: &ObjectRef) {
        if let Some(told) = self.kinds.get_mut(object.kind) {
            told.conditions.remove(object);
        }
    }

    /// The kinds whose definition is due to be looked at. They are not due again for a while.
    pub fn take_due(&mut self, now: Instant) -> Vec<&'static Kind> {
        let due = self.kinds.iter_mut().filter(|(_, told)| now.duration_since(told.looked) >= LOOK);
        due.map(|(kind, told)| {
            told.looked = now;
            *kind
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::a::virtual_service::{DEFINITION, KIND};
    use serde_json::json;

    use super::*;

    #[test]
    fn status_of_a_kind_is_found_among_what_its_group_serves() {
        let served = |names: &[&str]| {
            let resources: Vec<_> = names
                .iter()
                .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "VirtualService", "verbs": []}))
                .collect();
            let list = json!({"groupVersion": "servicemesh.l7mp.io/v1", "resources": resources});
            serde_json::from_value::<APIResourceList>(list).unwrap()
        };
        let resource = (DEFINITION.resource)();
        assert!(lists_status(&served(&["virtualservices", "virtualservices/status"]), &resource));
        assert!(!lists_status(&served(&["virtualservices", "others/status"]), &resource));
    }

    #[test]
    fn kind_without_statuses_is_looked_at_again_from_time_to_time() {
        let (mut kinds, start) = (Statusless::default(), Instant::now());
        let object = ObjectRef::namespaced(&KIND, "ns", "o");
        kinds.tell(&object, Vec::new());
        assert_eq!((kinds.told(&object), kinds.take_due(start + LOOK)), (None, vec![]));
        kinds.add(&KIND, &(DEFINITION.resource)(), start);
        kinds.add(&KIND, &(DEFINITION.resource)(), start + LOOK);
        assert_eq!(kinds.told(&object), Some(Vec::new()));
        assert_eq!(kinds.take_due(start + LOOK / 2), [] as [&Kind; 0]);
        assert_eq!(kinds.take_due(start + LOOK), [&KIND], "finding it again doesn't defer the look");
        assert_eq!(kinds.take_due(start + LOOK), [] as [&Kind; 0]);
        kinds.remove(&KIND);
        assert!(!kinds.has(&KIND) && kinds.told(&object).is_none());
    }
}
