//! Objects whose status keeps counters and reservations ([`Parents`]): the EPIC object and Accounts.
//!
//! Their status is replaced with the resourceVersion that was read (C.6 "Writing counters"). What the API server answered
//! last is kept, so that an allocation usually takes one request.

use std::collections::HashMap;

use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::{Client, ResourceExt as _};
use portreeve_allocate::ids::{Answer, Draw, Id, Reading, draw};
use portreeve_api::refs::ObjectRef;
use serde_json::{Value, json};

use super::failure::Failure;
use super::objects::{ATTEMPTS, api, limited};

/// The parents, as the API server returned them last.
pub struct Parents {
    client: Client,
    known: HashMap<ObjectRef, DynamicObject>,
}

/// A parent's newest known version.
pub struct Parent {
    /// The object.
    pub object: DynamicObject,
    /// Whether it was just read from the API server: other programs may have changed it since this hub's last write.
    pub is_fresh: bool,
}

// === impl Parents ===

impl Parents {
    /// Creates an empty store.
    pub fn new(client: Client) -> Self {
        Self { client, known: HashMap::new() }
    }

    /// Returns a parent as it was last written or read.
    ///
    /// # Errors
    /// Returns an error if it doesn't exist or can't be read.
    pub async fn get(&mut self, key: &ObjectRef) -> Result<Parent, Failure> {
        if let Some(object) = self.known.get(key) {
            return Ok(Parent { object: object.clone(), is_fresh: false });
        }
        let object = limited(api(&self.client, key)?.get(&key.name)).await?;
        self.known.insert(key.clone(), object.clone());
        Ok(Parent { object, is_fresh: true })
    }

    /// Replaces a parent's status. Returns the API server's answer; `None` if another program changed the parent meanwhile.
    ///
    /// # Errors
    /// Returns an error if the write failed. Whether it took effect is then unknown.
    pub async fn replace_status(
        &mut self,
        key: &ObjectRef,
        object: &DynamicObject,
    ) -> Result<Option<DynamicObject>, Failure> {
        // Whatever happens to the write, the known version is no longer the newest.
        self.known.remove(key);
        let api = api(&self.client, key)?;
        let params = PostParams::default();
        match limited(api.replace_status(&key.name, &params, object)).await {
            Ok(answer) => {
                self.known.insert(key.clone(), answer.clone());
                Ok(Some(answer))
            }
            Err(Failure::Api(kube::Error::Api(status))) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Draws the next id of a parent's counter. `existing` returns the ids below the parent, each with its object's kind and
    /// name; it gets the parent's present counter.
    ///
    /// # Errors
    /// Returns an error if no id is left, or if the counter could not be stored. No id is in use then.
    pub async fn next_id<I: Id>(
        &mut self,
        key: &ObjectRef,
        existing: &[(u32, String)],
    ) -> Result<I, Failure> {
        let (field, title) = (field::<I>(), key.title());
        for _ in 0..ATTEMPTS {
            let mut object = self.get(key).await?.object;
            let version = object.resource_version().unwrap_or_default();
            let reading = Reading { parent: &title, version: &version, counter: counter(&object, field) };
            let known = existing.iter().map(|(id, object)| (*id, object.as_str()));
            let draw: Draw<I> = draw(reading, known)?;
            set_status(&mut object, field, draw.counter().into());
            let Some(answer) = self.replace_status(key, &object).await? else { continue };
            let version = answer.resource_version().unwrap_or_default();
            let stored = draw.confirm(Answer { version: &version, counter: counter(&answer, field) })?;
            if let Some(warning) = stored.warning() {
                tracing::warn!("{warning}");
            }
            return Ok(stored.into_id());
        }
        Err(Failure::Contended { object: title, attempts: ATTEMPTS })
    }

    /// Forgets what is known of a parent, for example because it was deleted.
    pub fn forget(&mut self, key: &ObjectRef) {
        self.known.remove(key);
    }
}

/// Sets a field of an object's status.
pub fn set_status(object: &mut DynamicObject, field: &str, value: Value) {
    if !object.data["status"].is_object() {
        object.data["status"] = json!({});
    }
    object.data["status"][field] = value;
}

/// Returns the name of the counter's field in the status.
fn field<I: Id>() -> &'static str {
    let path = I::KIND.field();
    path.strip_prefix("status.").unwrap_or(path)
}

/// Returns a counter of an object.
pub fn counter(object: &DynamicObject, field: &str) -> Option<u32> {
    object.data.pointer("/status")?.get(field)?.as_u64().and_then(|number| u32::try_from(number).ok())
}
