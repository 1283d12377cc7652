//! The kinds of owners, and whether the hub can write their statuses: [`OwnerKinds`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};

use crate::owners::{Owner, row};
use crate::subresource::lists_status;

/// How long it is known that a kind can't be written.
const LOOK: Duration = Duration::from_secs(60);

/// The largest number of kinds that are remembered: users can name any.
const MOST: usize = 64;

/// A kind's `apiVersion` and `kind`.
type Key = (String, String);

/// What was found out about kinds of owners.
#[derive(Default)]
pub(super) struct OwnerKinds {
    known: BTreeMap<Key, Known>,
    /// Kinds of which the log already says that they can't be written.
    logged: BTreeSet<Key>,
}

struct Known {
    /// The kind's resource, or why the hub can't write the statuses of its objects.
    resource: Result<ApiResource, String>,
    since: Instant,
}

/// Looks for an owner's kind among those that the API server serves. Returns its resource, or why the hub can't write the
/// statuses of its objects.
pub(super) async fn discover(client: &Client, owner: &Owner) -> kube::Result<Result<ApiResource, String>> {
    if let Some(row) = row(&owner.api_version, &owner.kind) {
        return Ok(if row.kind.namespaced { Ok((row.resource)()) } else { Err(NO_NAMESPACE.into()) });
    }
    let served = match owner.api_version.contains('/') {
        true => client.list_api_group_resources(&owner.api_version).await,
        false => client.list_core_api_resources(&owner.api_version).await,
    };
    match served {
        Ok(served) => Ok(find(&served, owner)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Err(NOT_SERVED.into())),
        Err(error) => Err(error),
    }
}

const NO_NAMESPACE: &str = "its kind has no namespace, and only owners in the object's namespace are told";
const NOT_SERVED: &str = "the API server has no such kind: correct ownerReferences";
const NO_STATUS: &str =
    "its kind has no status subresource: add subresources.status to its definition, or remove updateOwners";

fn find(served: &APIResourceList, owner: &Owner) -> Result<ApiResource, String> {
    let is_it = |name: &str, kind: &str| kind == owner.kind && !name.contains('/');
    let found = served.resources.iter().find(|one| is_it(&one.name, &one.kind)).ok_or(NOT_SERVED)?;
    if !found.namespaced {
        return Err(NO_NAMESPACE.into());
    }
    let (group, version) = owner.api_version.rsplit_once('/').unwrap_or(("", &owner.api_version));
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, &owner.kind), &found.name);
    if lists_status(served, &resource) { Ok(resource) } else { Err(NO_STATUS.into()) }
}

// === impl OwnerKinds ===

impl OwnerKinds {
    /// Returns the resource of an owner's kind, or why it can't be written. `None` if that is to be found out.
    pub(super) fn get(&self, owner: &Owner, now: Instant) -> Option<Result<&ApiResource, &str>> {
        let known = self.known.get(&key(owner))?;
        match &known.resource {
            Ok(resource) => Some(Ok(resource)),
            Err(why) if now.duration_since(known.since) < LOOK => Some(Err(why)),
            Err(_) => None,
        }
    }

    /// Records what was found out about an owner's kind. Returns whether the log should say that it can't be written.
    pub(super) fn set(&mut self, owner: &Owner, resource: Result<ApiResource, String>, now: Instant) -> bool {
        let key = key(owner);
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            self.known.clear();
            self.logged.clear();
        }
        let is_new = resource.is_err() && self.logged.insert(key.clone());
        self.known.insert(key, Known { resource, since: now });
        is_new
    }
}

fn key(owner: &Owner) -> Key {
    (owner.api_version.clone(), owner.kind.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mk_owner(kind: &str) -> Owner {
        Owner {
            api_version: "media.example/v1".into(),
            kind: kind.into(),
            namespace: "ns".into(),
            name: "o".into(),
            uid: "u".into(),
        }
    }

    #[test]
    fn kind_is_found_among_what_its_group_serves() {
        let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": []});
        let served = json!({"groupVersion": "media.example/v1", "resources": [
            resource("calls/status", "Call", true),
            resource("calls", "Call", true),
            resource("notes", "Note", true),
            resource("zones", "Zone", false),
            resource("zones/status", "Zone", false),
            resource("calls/scale", "Scale", true),
        ]});
        let served: APIResourceList = serde_json::from_value(served).unwrap();
        let call = find(&served, &mk_owner("Call")).unwrap();
        assert_eq!(
            (&*call.plural, &*call.api_version, &*call.group),
            ("calls", "media.example/v1", "media.example")
        );
        for (kind, why) in
            [("Note", NO_STATUS), ("Zone", NO_NAMESPACE), ("Scale", NOT_SERVED), ("Other", NOT_SERVED)]
        {
            assert_eq!(find(&served, &mk_owner(kind)).unwrap_err(), why, "{kind}");
        }
    }

    #[test]
    fn kind_that_cannot_be_written_is_logged_once_and_looked_at_again() {
        let (mut kinds, now, owner) = (OwnerKinds::default(), Instant::now(), mk_owner("Note"));
        assert!(kinds.get(&owner, now).is_none());
        let refuse = |kinds: &mut OwnerKinds, now| kinds.set(&mk_owner("Note"), Err("no".into()), now);
        assert!(refuse(&mut kinds, now));
        assert_eq!(kinds.get(&owner, now), Some(Err("no")));
        assert!(kinds.get(&owner, now + LOOK).is_none(), "a right may have been added");
        assert!(!refuse(&mut kinds, now + LOOK), "the log says it already");
    }

    #[test]
    fn number_of_remembered_kinds_has_a_limit() {
        let (mut kinds, now) = (OwnerKinds::default(), Instant::now());
        for number in 0..10 * MOST {
            kinds.set(&mk_owner(&format!("Kind{number}")), Err("no".into()), now);
            assert!(kinds.known.len() <= MOST && kinds.logged.len() <= MOST);
        }
    }
}
