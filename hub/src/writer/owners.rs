//! Telling owners in `status.children.applied` which generations of their children are applied.

use std::pin::pin;
use std::time::Instant;

use futures::{StreamExt, stream};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::ApiResource;
use portreeve_api::refs::ObjectRef;
use serde_json::{Map, Value, json};

use super::owner_kinds::discover;
use super::request::MANAGER;
use super::{AT_ONCE, BATCH, Writer};
use crate::change::Seen;
use crate::lease::by;
use crate::owners::{Entries, Owner, path};
use crate::raw::Raw;
use crate::{events, subresource};

/// The reason of the event for the author of an object whose owner can't be told.
const REASON: &str = "OwnerNotTold";

/// The result of a write to an owner.
enum Telling {
    /// The owner has the entries, or there is no such owner.
    Done,
    /// The hub can't write the statuses of this kind of owner.
    UnwritableKind(String),
    /// The API server refuses this owner's status.
    Refused(String),
    /// The kind could not be looked up.
    Unknown,
}

// === impl Writer ===

impl Writer {
    /// Tells a batch of owners that are due.
    pub(super) async fn tell_owners(&mut self) {
        let due = self.ledger.take(BATCH, Instant::now());
        for (owner, _) in &due {
            self.look_up(owner).await;
        }
        let this = &*self;
        let batch = stream::iter(due).map(|(owner, entries)| async move {
            let outcome = match this.owner_kinds.get(&owner, Instant::now()) {
                Some(Ok(resource)) => by(this.until, this.tell_owner(&owner, resource, &entries)).await,
                Some(Err(why)) => Ok(Telling::UnwritableKind(why.to_owned())),
                None => Ok(Telling::Unknown),
            };
            (owner, entries, outcome)
        });
        let told: Vec<_> = pin!(batch.buffer_unordered(AT_ONCE)).collect().await;
        for (owner, entries, outcome) in told {
            self.note_telling(&owner, &entries, outcome).await;
        }
    }

    /// Compares the entries of children in an object's status with what it was told.
    pub(super) fn observe_children(&mut self, object: &ObjectRef, seen: &Seen, now: Instant) {
        let Some(owner) = Owner::own(object, &seen.uid) else { return };
        let gone = seen.children.keys().filter(|child| self.feed.subject(child).is_none());
        let gone: Vec<ObjectRef> = gone.cloned().collect();
        self.ledger.observe(&owner, &seen.children, &gone, now);
    }

    /// Finds out whether the hub can write an owner's kind, unless that is known.
    async fn look_up(&mut self, owner: &Owner) {
        if self.owner_kinds.get(owner, Instant::now()).is_some() {
            return;
        }
        match by(self.until, discover(&self.client, owner)).await {
            Ok(found) => self.set_kind(owner, found),
            Err(error) => {
                let (api_version, kind) = (&*owner.api_version, &*owner.kind);
                tracing::warn!(api_version, kind, %error, "can't look up the kind of an owner, trying again");
            }
        }
    }

    fn set_kind(&mut self, owner: &Owner, found: Result<ApiResource, String>) {
        let why = found.as_ref().err().cloned().unwrap_or_default();
        if self.owner_kinds.set(owner, found, Instant::now()) {
            let (api_version, kind) = (&*owner.api_version, &*owner.kind);
            tracing::warn!(
                api_version,
                kind,
                why,
                "owners of this kind can't be told which of their children are applied"
            );
        }
    }

    async fn tell_owner(
        &self,
        owner: &Owner,
        resource: &ApiResource,
        entries: &Entries,
    ) -> kube::Result<Telling> {
        let api: Api<Raw> = Api::namespaced_with(self.client.clone(), &owner.namespace, resource);
        let found = match api.get_opt(&owner.name).await {
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Ok(Telling::UnwritableKind(lacks(resource)));
            }
            found => found?,
        };
        // Objects may have a made-up owner. Another object with its name is not to be told.
        let Some(found) = found.filter(|found| found.metadata.uid.as_ref() == Some(&owner.uid)) else {
            return Ok(Telling::Done);
        };
        let lacking = lacking(&found, entries);
        if lacking.is_empty() {
            return Ok(Telling::Done);
        }
        let patch = json!({"metadata": {"uid": owner.uid}, "status": {"children": {"applied": lacking}}});
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        match api.patch_status(&owner.name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => Ok(Telling::Done),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                Ok(Telling::UnwritableKind(lacks(resource)))
            }
            // The owner is gone, or its kind has no status.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Ok(match subresource::has_status(&self.client, resource).await? {
                    true => Telling::Done,
                    false => Telling::UnwritableKind(NO_STATUS.into()),
                })
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 413 | 422) => {
                Ok(Telling::Refused(status.message))
            }
            Err(error) => Err(error),
        }
    }

    /// Records the result of a write to an owner.
    async fn note_telling(&mut self, owner: &Owner, entries: &Entries, outcome: kube::Result<Telling>) {
        let now = Instant::now();
        let why = match outcome {
            Ok(Telling::Done) => return self.ledger.written(owner, entries),
            Ok(Telling::Unknown) => return self.ledger.failed(owner, now),
            Ok(Telling::UnwritableKind(why)) => {
                self.set_kind(owner, Err(why.clone()));
                why
            }
            Ok(Telling::Refused(why)) => why,
            Err(error) => {
                let (namespace, name, kind) = (&*owner.namespace, &*owner.name, &*owner.kind);
                tracing::warn!(namespace, name, kind, %error, "can't tell an owner, trying again");
                return self.ledger.failed(owner, now);
            }
        };
        let note = format!("{} {} is not told that this object is applied: {why}", owner.kind, owner.name);
        for child in self.ledger.unwritable(owner, now) {
            if let Some(subject) = self.feed.subject(&child) {
                events::warn_once(&self.client, &subject, &self.identity, (REASON, &note)).await;
            }
        }
    }
}

/// Returns the entries that an owner lacks, by the children's paths. A null removes an entry.
fn lacking(owner: &Raw, entries: &Entries) -> Map<String, Value> {
    let stands = owner.children();
    let entries = entries.iter().filter_map(|(child, told)| Some((path(child)?, *told)));
    let lacking = entries.filter(|(path, told)| stands.get(path) != told.map(Value::from).as_ref());
    lacking.map(|(path, told)| (path, json!(told))).collect()
}

const NO_STATUS: &str = "its kind has no status subresource: install this release's definition of it";

/// Says which rights the hub lacks for a kind of owner.
fn lacks(resource: &ApiResource) -> String {
    let of_group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
    let plural = format!("{}{of_group}", resource.plural);
    format!(
        "the hub lacks a right: grant it get of {plural} and patch of their status, see \"Owners\" in deploy/README.md"
    )
}

#[cfg(test)]
mod tests {
    use portreeve_api::b::rule::KIND;

    use super::*;

    #[test]
    fn only_entries_that_differ_are_written() {
        let owner = json!({"status": {"children": {"applied": {
            "/l7mp.io/v1/Rule/ns/same": 1, "/l7mp.io/v1/Rule/ns/old": 1, "/l7mp.io/v1/Rule/ns/gone": 1,
            "/l7mp.io/v1/Rule/ns/odd": "1",
        }}}});
        let owner: Raw = serde_json::from_value(owner).unwrap();
        let told = [
            ("same", Some(1)),
            ("old", Some(2)),
            ("gone", None),
            ("odd", Some(1)),
            ("new", Some(1)),
            ("no", None),
        ];
        let entries = told.map(|(name, told)| (ObjectRef::namespaced(&KIND, "ns", name), told)).into();
        let expected = json!({
            "/l7mp.io/v1/Rule/ns/old": 2, "/l7mp.io/v1/Rule/ns/gone": null,
            "/l7mp.io/v1/Rule/ns/odd": 1, "/l7mp.io/v1/Rule/ns/new": 1,
        });
        assert_eq!(Value::Object(lacking(&owner, &entries)), expected);
        let bare: Raw = serde_json::from_value(json!({})).unwrap();
        assert_eq!(lacking(&bare, &entries).len(), 4);
    }

    #[test]
    fn missing_right_is_told_with_what_to_grant() {
        let of = |group: &str, plural: &str| ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version: "v1".into(),
            kind: "K".into(),
            plural: plural.into(),
        };
        assert!(lacks(&of("media.example", "calls")).contains("get of calls.media.example and patch"));
        assert!(lacks(&of("", "pods")).contains("get of pods and patch"));
    }
}
