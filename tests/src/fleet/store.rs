//! The objects of the simulated API server, with the events of each collection ([`Store`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::pod::{Pod, Template};
use super::shape::NAMESPACE;

/// Number of events that a collection keeps. A watch that lags further behind is told to list again.
const KEPT: usize = 100_000;

/// The name of the pods' collection. Others are named `PLURAL.GROUP`.
pub const PODS: &str = "pods";

/// An object.
#[derive(Clone, Debug)]
pub enum Item {
    /// A pod.
    Pod(Pod),
    /// Any other object, with its resourceVersion.
    Object(Arc<Value>),
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It was deleted.
    Deleted,
}

/// A change of an object.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub verb: Verb,
    /// The object's new revision.
    pub revision: u64,
    /// The object's namespace and name: `NAMESPACE/NAME`.
    pub key: String,
    /// The object, or the deleted object.
    pub item: Item,
}

/// A part of a list.
#[derive(Debug)]
pub struct Page {
    /// The revision of the store.
    pub revision: u64,
    /// Keys, revisions and objects.
    pub items: Vec<(String, u64, Item)>,
    /// Whether there are more objects.
    pub more: bool,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such object.
    Missing,
    /// The object has another revision, or exists already.
    Conflict,
}

/// The status writes of an object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Number of writes so far.
    pub count: u64,
    /// The newest generation that was `Programmed`, and when that was written first.
    pub programmed: Option<(i64, Instant)>,
}

/// The store.
pub struct Store {
    state: Mutex<State>,
    /// The newest revision.
    newest: watch::Sender<u64>,
    template: Template,
}

#[derive(Default)]
struct State {
    revision: u64,
    collections: HashMap<String, Collection>,
    written: HashMap<String, Written>,
    writes: u64,
}

/// The objects of a kind.
#[derive(Default)]
struct Collection {
    items: BTreeMap<String, (u64, Item)>,
    events: VecDeque<Event>,
    /// The revision of the newest event that was dropped.
    dropped: u64,
}

// === impl Verb ===

impl Verb {
    /// Returns the type of a watch event.
    pub fn text(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

// === impl State ===

impl State {
    fn put(&mut self, collection: &str, key: &str, item: Item) -> Item {
        self.revision += 1;
        let revision = self.revision;
        let item = stamped(item, revision);
        let collection = self.collections.entry(collection.to_owned()).or_default();
        let before = collection.items.insert(key.to_owned(), (revision, item.clone()));
        let verb = if before.is_some() { Verb::Modified } else { Verb::Added };
        collection.note(Event { verb, revision, key: key.to_owned(), item: item.clone() });
        item
    }

    fn find(&self, collection: &str, key: &str) -> Option<&(u64, Item)> {
        self.collections.get(collection)?.items.get(key)
    }
}

// === impl Collection ===

impl Collection {
    fn note(&mut self, event: Event) {
        self.events.push_back(event);
        while self.events.len() > KEPT {
            self.dropped = self.events.pop_front().map_or(self.dropped, |event| event.revision);
        }
    }
}

// === impl Store ===

impl Store {
    /// Creates an empty store, whose pods are rendered by this template.
    pub fn new(template: Template) -> Self {
        Self { state: Mutex::default(), newest: watch::Sender::new(0), template }
    }

    /// Creates or replaces an object.
    pub fn put(&self, collection: &str, object: Value) {
        let key = key_of(&object);
        let revision = {
            let mut state = self.state();
            state.put(collection, &key, Item::Object(Arc::new(object)));
            state.revision
        };
        self.newest.send_replace(revision);
    }

    /// Creates or replaces pods, all at once.
    pub fn put_pods(&self, pods: impl IntoIterator<Item = Pod>) {
        let revision = {
            let mut state = self.state();
            for pod in pods {
                state.put(PODS, &pod_key(&pod), Item::Pod(pod));
            }
            state.revision
        };
        self.newest.send_replace(revision);
    }

    /// Deletes a pod.
    pub fn delete_pod(&self, pod: &Pod) {
        self.delete(PODS, &pod_key(pod));
    }

    /// Deletes an object, if there is one.
    pub fn delete(&self, collection: &str, key: &str) {
        let revision = {
            let mut state = self.state();
            state.revision += 1;
            let revision = state.revision;
            let Some(collection) = state.collections.get_mut(collection) else { return };
            let Some((_, item)) = collection.items.remove(key) else { return };
            let item = stamped(item, revision);
            collection.note(Event { verb: Verb::Deleted, revision, key: key.to_owned(), item });
            revision
        };
        self.newest.send_replace(revision);
    }

    /// Returns an object.
    pub fn get(&self, collection: &str, key: &str) -> Option<Arc<Value>> {
        match self.state().find(collection, key) {
            Some((_, Item::Object(object))) => Some(object.clone()),
            _ => None,
        }
    }

    /// Returns up to `limit` objects whose keys begin with `prefix` and are behind `after`.
    pub fn page(&self, collection: &str, prefix: &str, after: &str, limit: usize) -> Page {
        let state = self.state();
        let revision = state.revision;
        let Some(collection) = state.collections.get(collection) else {
            return Page { revision, items: Vec::new(), more: false };
        };
        let from = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let range = collection.items.range::<str, _>((from, Bound::Unbounded));
        let mut found = range.take_while(|(key, _)| key.starts_with(prefix));
        let copy = |(key, (revision, item)): (&String, &(u64, Item))| (key.clone(), *revision, item.clone());
        let items = found.by_ref().take(limit).map(copy).collect();
        Page { revision, items, more: found.next().is_some() }
    }

    /// Returns up to `limit` events behind a revision; `None` if some of them were dropped.
    pub fn events(&self, collection: &str, after: u64, limit: usize) -> Option<Vec<Event>> {
        let state = self.state();
        let Some(collection) = state.collections.get(collection) else { return Some(Vec::new()) };
        if after < collection.dropped {
            return None;
        }
        let first = collection.events.partition_point(|event| event.revision <= after);
        Some(collection.events.range(first..).take(limit).cloned().collect())
    }

    /// Returns a receiver of the newest revision.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Creates an object, or replaces one of the same revision.
    ///
    /// # Errors
    /// Returns an error if the object has another revision, or exists although it should be created.
    pub fn write(&self, collection: &str, object: Value) -> Result<Arc<Value>, Refusal> {
        let key = key_of(&object);
        let expected = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let mut state = self.state();
        let found = state.find(collection, &key).map(|(revision, _)| revision.to_string());
        if found.as_deref() != expected {
            return Err(Refusal::Conflict);
        }
        let stored = state.put(collection, &key, Item::Object(Arc::new(object)));
        self.newest.send_replace(state.revision);
        object_of(stored)
    }

    /// Merges a patch into an object. Patches of the status are counted.
    ///
    /// # Errors
    /// Returns an error if the object is missing, or has another revision than the patch.
    pub fn patch(
        &self,
        (collection, key): (&str, &str),
        of_status: bool,
        mut patch: Value,
    ) -> Result<Arc<Value>, Refusal> {
        let mut state = self.state();
        let Some((revision, Item::Object(object))) = state.find(collection, key) else {
            return Err(Refusal::Missing);
        };
        let expected = patch.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        if expected.is_some_and(|expected| expected != revision.to_string()) {
            return Err(Refusal::Conflict);
        }
        let mut object = Value::clone(object);
        if of_status {
            patch = json!({"status": patch["status"].take()});
        }
        merge(&mut object, patch);
        if of_status {
            state.writes += 1;
            state.written.entry(format!("{collection}:{key}")).or_default().note(&object);
        }
        let stored = state.put(collection, key, Item::Object(Arc::new(object)));
        self.newest.send_replace(state.revision);
        object_of(stored)
    }

    /// Returns the number of status writes so far.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// Returns the status writes of an object.
    pub fn written(&self, collection: &str, key: &str) -> Written {
        self.state().written.get(&format!("{collection}:{key}")).copied().unwrap_or_default()
    }

    /// Returns the JSON of an object.
    pub fn render(&self, item: &Item, revision: u64) -> String {
        match item {
            Item::Pod(pod) => self.template.render(pod, revision),
            Item::Object(object) => object.to_string(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Written ===

impl Written {
    fn note(&mut self, object: &Value) {
        self.count += 1;
        let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let is_programmed = conditions.into_iter().flatten().any(|one| {
            one["type"] == "Programmed" && one["status"] == "True" && one["observedGeneration"] == generation
        });
        if is_programmed && self.programmed.is_none_or(|(known, _)| known != generation) {
            self.programmed = Some((generation, Instant::now()));
        }
    }
}

/// Returns `NAMESPACE/NAME` of an object; the namespace is empty if it has none.
pub fn key_of(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

fn pod_key(pod: &Pod) -> String {
    format!("{NAMESPACE}/{}", pod.name())
}

fn object_of(item: Item) -> Result<Arc<Value>, Refusal> {
    match item {
        Item::Object(object) => Ok(object),
        Item::Pod(_) => Err(Refusal::Missing),
    }
}

/// Returns the object with this resourceVersion.
fn stamped(item: Item, revision: u64) -> Item {
    match item {
        Item::Object(mut object) => {
            Arc::make_mut(&mut object)["metadata"]["resourceVersion"] = revision.to_string().into();
            Item::Object(object)
        }
        pod @ Item::Pod(_) => pod,
    }
}

/// Applies a JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => drop(target.as_object_mut().and_then(|target| target.remove(&name))),
            value => merge(&mut target[name], value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::{FIRST_PORT, Shape};
    use super::*;

    const SHAPE: Shape =
        Shape { nodes: 4, pods_per_node: 10, services: 2, group_size: 10, gateways: 1, agents: 1 };
    const SERVICES: &str = "virtualservices.servicemesh.l7mp.io";

    fn store() -> Store {
        let store = Store::new(Template::new(SHAPE));
        store.put(SERVICES, SHAPE.service(0, FIRST_PORT));
        store.put_pods((0..40).map(Pod::first));
        store
    }

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let (store, mut after, mut seen) = (store(), String::new(), 0);
        loop {
            let page = store.page(PODS, "", &after, 15);
            seen += page.items.len();
            after = page.items.last().map(|(key, ..)| key.clone()).unwrap_or_default();
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, 40);
        assert_eq!(store.page(PODS, "other/", "", 15).items.len(), 0);
    }

    #[test]
    fn events_behind_a_list_are_those_that_it_lacks() {
        let store = store();
        let listed = store.page(PODS, "", "", 1).revision;
        store.delete_pod(&Pod::first(3));
        store.put_pods([Pod::first(4)]);
        let events = store.events(PODS, listed, 9).unwrap();
        let verbs: Vec<Verb> = events.iter().map(|event| event.verb).collect();
        assert_eq!(verbs, [Verb::Deleted, Verb::Modified]);
        assert!(events[0].revision < events[1].revision);
    }

    #[test]
    fn patch_of_a_status_is_counted_and_refused_for_another_revision() {
        let (store, key) = (store(), "default/service-00000");
        let condition = json!({"type": "Programmed", "status": "True", "observedGeneration": 1});
        let patch = json!({"metadata": {"resourceVersion": "1"}, "status": {"conditions": [condition]}});
        let stored = store.patch((SERVICES, key), true, patch.clone()).unwrap();
        assert_eq!(stored["metadata"]["resourceVersion"], "42");
        assert_eq!(stored["status"]["conditions"][0]["type"], "Programmed");
        assert_eq!(store.patch((SERVICES, key), true, patch), Err(Refusal::Conflict));
        let written = store.written(SERVICES, key);
        assert_eq!((store.writes(), written.count, written.programmed.map(|one| one.0)), (1, 1, Some(1)));
    }
}
