//! The facts that resolvers look up ([`Answers`]). Each method returns the questions whose answers it changed.

use std::any::Any;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceSpec;
use portreeve_api::refs::ObjectRef;
use portreeve_xds::{Name, Version};

use super::question::{FoundBy, Labels, Listing, Question};
use super::secret::{KnownSecret, SecretBytes, SecretFacts};
use crate::keyed_sets::KeyedSets;

/// The facts that resolvers look up.
#[derive(Default)]
pub struct Answers {
    objects: HashMap<ObjectRef, Kept>,
    listings: KeyedSets<Listing, ObjectRef>,
    /// Objects that exist but have no acceptable version.
    unreadable: HashSet<ObjectRef>,
    namespaces: HashMap<Name, Arc<Labels>>,
    services: HashMap<(Name, Name), Arc<ServiceSpec>>,
    /// The Secrets that objects ask for.
    secrets: HashMap<(Name, Name), KnownSecret>,
    /// The selections that match several pods with l7mp proxies, if an object asks.
    several: HashSet<Name>,
    /// Why objects didn't get the ids and addresses that they lack.
    unallocated: HashMap<ObjectRef, String>,
}

/// An object as other objects look it up.
pub struct Fact {
    /// The object, of its kind's type.
    pub object: Arc<dyn Any + Send + Sync>,
    /// A hash of everything that answers may depend on: all fields except the status and the API server's own. `None`: the
    /// object always counts as changed.
    pub essence: Option<Version>,
    /// The fields and values by which other objects find this one.
    pub found_by: Vec<FoundBy>,
}

struct Kept {
    fact: Fact,
    listings: BTreeSet<Listing>,
}

// === impl Answers ===

impl Answers {
    /// Sets the new acceptable version of an object.
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
            self.listings.remove(gone, reference);
        }
        for new in listings.difference(&before) {
            self.listings.insert(new.clone(), reference.clone());
        }
        if !same {
            changed.insert(Question::Object(reference.clone()));
            changed.extend(before.union(&listings).cloned().map(Question::Listing));
        }
        self.objects.insert(reference.clone(), Kept { fact, listings });
        changed
    }

    /// Records that the newest version of an object is not acceptable. The last acceptable version stays in use.
    pub fn reject(&mut self, reference: &ObjectRef) -> BTreeSet<Question> {
        if self.objects.contains_key(reference) || !self.unreadable.insert(reference.clone()) {
            return BTreeSet::new();
        }
        BTreeSet::from([Question::Object(reference.clone())])
    }

    /// Removes an object.
    pub fn remove(&mut self, reference: &ObjectRef) -> BTreeSet<Question> {
        let mut changed = self.readable(reference);
        if let Some(old) = self.objects.remove(reference) {
            for listing in &old.listings {
                self.listings.remove(listing, reference);
            }
            changed.insert(Question::Object(reference.clone()));
            changed.extend(old.listings.into_iter().map(Question::Listing));
        }
        changed
    }

    /// Returns whether an acceptable version of an object is known.
    pub fn has(&self, reference: &ObjectRef) -> bool {
        self.objects.contains_key(reference)
    }

    /// Sets the labels of a namespace. `None` means that the namespace is gone.
    pub fn set_namespace(&mut self, name: &Name, labels: Option<Arc<Labels>>) -> Option<Question> {
        let question = Question::Namespace(name.clone());
        set(&mut self.namespaces, name.clone(), labels).then_some(question)
    }

    /// Sets the spec of a Service. `None` means that the Service is gone.
    pub fn set_service(&mut self, at: (Name, Name), service: Option<Arc<ServiceSpec>>) -> Option<Question> {
        let question = Question::Service(at.0.clone(), at.1.clone());
        set(&mut self.services, at, service).then_some(question)
    }

    /// Sets whether a selection matches several pods with l7mp proxies.
    pub fn set_several(&mut self, selection: &Name, several: bool) -> Option<Question> {
        let changed = match several {
            true => self.several.insert(selection.clone()),
            false => self.several.remove(selection),
        };
        changed.then(|| Question::Several(selection.clone()))
    }

    /// Returns whether a selection matches several pods with l7mp proxies.
    pub fn several(&self, selection: &Name) -> bool {
        self.several.contains(selection)
    }

    /// Sets why an object didn't get the ids and addresses that it lacks. `None`: nothing is known to be wrong.
    pub fn set_unallocated(&mut self, object: &ObjectRef, why: Option<String>) -> Option<Question> {
        set(&mut self.unallocated, object.clone(), why).then(|| Question::Allocation(object.clone()))
    }

    /// Returns why an object didn't get the ids and addresses that it lacks.
    pub fn unallocated(&self, object: &ObjectRef) -> Option<&str> {
        self.unallocated.get(object).map(String::as_str)
    }

    /// Sets what was found in a Secret. `None` means that the Secret does not exist.
    pub fn set_secret(&mut self, at: (Name, Name), facts: Option<SecretFacts>) -> Option<Question> {
        self.set_known_secret(at, |_| KnownSecret { found: Some(facts), unreadable: None })
    }

    /// Records why a Secret can't be read at present. What was found in it before stays in force.
    pub fn set_secret_unreadable(&mut self, at: (Name, Name), why: String) -> Option<Question> {
        self.set_known_secret(at, |known| KnownSecret { unreadable: Some(why), ..known.clone() })
    }

    /// Forgets the content of all keys of a Secret but the wanted ones. `None`: forgets the Secret.
    pub fn keep_secret(&mut self, at: &(Name, Name), wanted: Option<&BTreeSet<Name>>) {
        let Some(wanted) = wanted else {
            self.secrets.remove(at);
            return;
        };
        let facts = self.secrets.get_mut(at).and_then(|known| known.found.as_mut()?.as_mut());
        facts.into_iter().for_each(|facts| facts.keep_contents(wanted));
    }

    fn set_known_secret(
        &mut self,
        at: (Name, Name),
        change: impl FnOnce(&KnownSecret) -> KnownSecret,
    ) -> Option<Question> {
        let question = Question::Secret(at.0.clone(), at.1.clone());
        let known = self.secrets.entry(at).or_default();
        let new = change(known);
        (std::mem::replace(known, new) != *known).then_some(question)
    }

    /// Returns the content of one of a Secret's keys, as it was last read. `None` if it is not known, or if the Secret lacks
    /// the key.
    pub fn secret_content(&self, namespace: &Name, name: &Name, key: &str) -> Option<&SecretBytes> {
        self.secret(namespace, name)?.facts()?.content(key)
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
        self.listings.of(listing).filter_map(|reference| Some((reference, self.object(reference)?)))
    }

    pub(super) fn namespace(&self, name: &Name) -> Option<&Labels> {
        self.namespaces.get(name).map(Arc::as_ref)
    }

    pub(super) fn service(&self, namespace: &Name, name: &Name) -> Option<&Arc<ServiceSpec>> {
        self.services.get(&(namespace.clone(), name.clone()))
    }

    /// Returns what is known of a Secret. `None` if no object has asked for it yet.
    pub(super) fn secret(&self, namespace: &Name, name: &Name) -> Option<&KnownSecret> {
        self.secrets.get(&(namespace.clone(), name.clone()))
    }

    /// Records that an object has an acceptable version again, or is gone.
    fn readable(&mut self, reference: &ObjectRef) -> BTreeSet<Question> {
        let changed = self.unreadable.remove(reference).then(|| Question::Object(reference.clone()));
        changed.into_iter().collect()
    }
}

/// Sets or (`None`) removes a value. Returns whether that changed anything.
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
