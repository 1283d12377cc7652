//! Everything that a resolver can be told ([`Answers`]). Each verb answers with the questions whose answers it changed.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceSpec;
use portreeve_api::refs::ObjectRef;
use portreeve_xds::{Name, Version};

use super::question::{FoundBy, Labels, Listing, Question};

/// Everything that a resolver can be told.
#[derive(Default)]
pub struct Answers {
    objects: HashMap<ObjectRef, Kept>,
    listings: HashMap<Listing, BTreeSet<ObjectRef>>,
    /// Objects that are there without an acceptable version.
    unreadable: HashSet<ObjectRef>,
    namespaces: HashMap<Name, Labels>,
    services: HashMap<(Name, Name), Arc<ServiceSpec>>,
    /// Secrets that were looked for; `None`: there is no such Secret.
    secrets: HashMap<(Name, Name), Option<SecretFacts>>,
}

/// What is known of a Secret: never its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// Its type, as `kubernetes.io/tls`.
    pub type_: String,
    /// Its keys, each with a hash of its value.
    pub keys: BTreeMap<String, Version>,
}

/// An object as others may ask for it.
pub struct Fact {
    /// The object, of its kind's type.
    pub object: Arc<dyn Any + Send + Sync>,
    /// A hash of what an answer may follow from: all but status and bookkeeping. `None`: it counts as changed.
    pub essence: Option<Version>,
    /// By what others find it.
    pub found_by: Vec<FoundBy>,
}

struct Kept {
    fact: Fact,
    listings: BTreeSet<Listing>,
}

// === impl Answers ===

impl Answers {
    /// An object has a new acceptable version.
    pub fn put(&mut self, reference: &ObjectRef, fact: Fact) -> BTreeSet<Question> {
        let mut changed = self.readable(reference);
        let listings: BTreeSet<Listing> = fact
            .found_by
            .iter()
            .map(|(field, value)| Listing { kind: reference.kind, field, value: value.clone() })
            .collect();
        let old = self.objects.remove(reference);
        let same =
            old.as_ref().is_some_and(|old| old.fact.essence.is_some() && old.fact.essence == fact.essence);
        let before = old.map(|old| old.listings).unwrap_or_default();
        for gone in before.difference(&listings) {
            self.leave(gone, reference);
        }
        for new in listings.difference(&before) {
            self.listings.entry(new.clone()).or_default().insert(reference.clone());
        }
        if !same {
            changed.insert(Question::Object(reference.clone()));
            changed.extend(before.union(&listings).cloned().map(Question::Listing));
        }
        self.objects.insert(reference.clone(), Kept { fact, listings });
        changed
    }

    /// An object is there, and its newest version is not acceptable. The last acceptable one stays what is told.
    pub fn reject(&mut self, reference: &ObjectRef) -> BTreeSet<Question> {
        if self.objects.contains_key(reference) || !self.unreadable.insert(reference.clone()) {
            return BTreeSet::new();
        }
        BTreeSet::from([Question::Object(reference.clone())])
    }

    /// An object is gone.
    pub fn remove(&mut self, reference: &ObjectRef) -> BTreeSet<Question> {
        let mut changed = self.readable(reference);
        if let Some(old) = self.objects.remove(reference) {
            old.listings.iter().for_each(|listing| self.leave(listing, reference));
            changed.insert(Question::Object(reference.clone()));
            changed.extend(old.listings.into_iter().map(Question::Listing));
        }
        changed
    }

    /// Whether an acceptable version of an object is known.
    pub fn has(&self, reference: &ObjectRef) -> bool {
        self.objects.contains_key(reference)
    }

    /// A namespace has these labels, or (`None`) is gone.
    pub fn set_namespace(&mut self, name: &Name, labels: Option<Labels>) -> Option<Question> {
        let question = Question::Namespace(name.clone());
        set(&mut self.namespaces, name.clone(), labels).then_some(question)
    }

    /// A Service has this form, or (`None`) is gone.
    pub fn set_service(&mut self, at: (Name, Name), service: Option<Arc<ServiceSpec>>) -> Option<Question> {
        let question = Question::Service(at.0.clone(), at.1.clone());
        set(&mut self.services, at, service).then_some(question)
    }

    /// A Secret was looked for: it has these keys, or (`None`) is not there.
    pub fn set_secret(&mut self, at: (Name, Name), facts: Option<SecretFacts>) -> Option<Question> {
        let question = Question::Secret(at.0.clone(), at.1.clone());
        set(&mut self.secrets, at, Some(facts)).then_some(question)
    }

    /// A Secret is not asked for any more.
    pub fn forget_secret(&mut self, at: &(Name, Name)) {
        self.secrets.remove(at);
    }

    pub(super) fn is_unreadable(&self, reference: &ObjectRef) -> bool {
        self.unreadable.contains(reference)
    }

    pub(super) fn object(&self, reference: &ObjectRef) -> Option<&(dyn Any + Send + Sync)> {
        self.objects.get(reference).map(|kept| &*kept.fact.object)
    }

    pub(super) fn listed(
        &self,
        listing: &Listing,
    ) -> impl Iterator<Item = (&ObjectRef, &(dyn Any + Send + Sync))> {
        let found = self.listings.get(listing).into_iter().flatten();
        found.filter_map(|reference| Some((reference, self.object(reference)?)))
    }

    pub(super) fn namespace(&self, name: &Name) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    pub(super) fn service(&self, namespace: &Name, name: &Name) -> Option<&Arc<ServiceSpec>> {
        self.services.get(&(namespace.clone(), name.clone()))
    }

    /// `None`: it was not looked for yet.
    pub(super) fn secret(&self, namespace: &Name, name: &Name) -> Option<&Option<SecretFacts>> {
        self.secrets.get(&(namespace.clone(), name.clone()))
    }

    /// An object is not without an acceptable version any more.
    fn readable(&mut self, reference: &ObjectRef) -> BTreeSet<Question> {
        let changed = self.unreadable.remove(reference).then(|| Question::Object(reference.clone()));
        changed.into_iter().collect()
    }

    fn leave(&mut self, listing: &Listing, reference: &ObjectRef) {
        let Some(members) = self.listings.get_mut(listing) else { return };
        members.remove(reference);
        if members.is_empty() {
            self.listings.remove(listing);
        }
    }
}

/// Puts a value, or (`None`) takes it away; answers whether that changed anything.
fn set<K: std::hash::Hash + Eq, V: PartialEq>(map: &mut HashMap<K, V>, key: K, value: Option<V>) -> bool {
    match value {
        Some(value) if map.get(&key) == Some(&value) => false,
        Some(value) => {
            map.insert(key, value);
            true
        }
        None => map.remove(&key).is_some(),
    }
}
