//! Objects whose status can't be written ([`Statusless`]): the installed definition of their kind, which may be another
//! project's, has no status subresource, or the object breaks the definition's schema because it was stored under an older one.
//! What their status would say is told as events.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResourceList, Condition};
use kube::Client;
use kube::core::{ApiResource, Status};
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;

/// How often the definitions of such kinds are looked at again.
const LOOK: Duration = Duration::from_secs(10);

/// The kinds without a status subresource, and the objects whose status the API server refuses.
#[derive(Default)]
pub struct Statusless {
    kinds: BTreeMap<&'static Kind, Told>,
    refused: HashMap<ObjectRef, Refused>,
}

/// An object whose status was refused.
struct Refused {
    /// The generation of the object. The status of another one is tried again.
    generation: i64,
    /// What was told of it.
    conditions: Vec<Condition>,
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

/// Whether the API server refuses a status because the stored object itself breaks its definition's schema: a rule (422), or a
/// field's type, with which no status can be applied (500).
pub fn is_refused(answer: &Status) -> bool {
    answer.code == 422 || answer.message.starts_with("failed to create typed live object")
}

/// Whether a kind is among those of its group that have a status subresource.
pub fn lists_status(served: &APIResourceList, resource: &ApiResource) -> bool {
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

    /// The conditions of an object in this generation that were told; `None`: its status can be written, as far as is known.
    pub fn told(&self, object: &ObjectRef, generation: i64) -> Option<Vec<Condition>> {
        let refused = self.refused.get(object).filter(|refused| refused.generation == generation);
        if let Some(refused) = refused {
            return Some(refused.conditions.clone());
        }
        let told = self.kinds.get(object.kind)?;
        Some(told.conditions.get(object).cloned().unwrap_or_default())
    }

    /// The API server refused the status of an object in this generation, and these conditions were told instead.
    pub fn refuse(&mut self, object: &ObjectRef, generation: i64, conditions: Vec<Condition>) {
        self.refused.insert(object.clone(), Refused { generation, conditions });
    }

    /// These conditions of an object were told.
    pub fn tell(&mut self, object: &ObjectRef, conditions: Vec<Condition>) {
        if let Some(refused) = self.refused.get_mut(object) {
            refused.conditions.clone_from(&conditions);
        }
        if let Some(told) = self.kinds.get_mut(object.kind) {
            told.conditions.insert(object.clone(), conditions);
        }
    }

    /// An object is gone.
    pub fn forget(&mut self, object: &ObjectRef) {
        self.refused.remove(object);
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
        assert_eq!((kinds.told(&object, 1), kinds.take_due(start + LOOK)), (None, vec![]));
        kinds.add(&KIND, &(DEFINITION.resource)(), start);
        kinds.add(&KIND, &(DEFINITION.resource)(), start + LOOK);
        assert_eq!(kinds.told(&object, 1), Some(Vec::new()));
        assert_eq!(kinds.take_due(start + LOOK / 2), [] as [&Kind; 0]);
        assert_eq!(kinds.take_due(start + LOOK), [&KIND], "finding it again doesn't defer the look");
        assert_eq!(kinds.take_due(start + LOOK), [] as [&Kind; 0]);
        kinds.remove(&KIND);
        assert!(!kinds.has(&KIND) && kinds.told(&object, 1).is_none());
    }

    #[test]
    fn status_that_was_refused_is_told_until_the_object_has_another_generation() {
        let (mut kinds, object) = (Statusless::default(), ObjectRef::namespaced(&KIND, "ns", "o"));
        kinds.refuse(&object, 3, Vec::new());
        assert_eq!(kinds.told(&object, 3), Some(Vec::new()));
        assert!(kinds.told(&object, 4).is_none() && !kinds.has(&KIND), "it may be mended");
        kinds.forget(&object);
        assert!(kinds.told(&object, 3).is_none());
    }
}
