//! The parts of objects' statuses that other objects contribute ([`Contributions`]), such as a route's entry for each of its
//! parents.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portreeve_api::conditions::Verdict;
use portreeve_api::refs::ObjectRef;

/// The conditions that each contributor gives to one object, by contributor.
pub type Parts = BTreeMap<ObjectRef, Vec<Verdict>>;

/// All contributions, keyed by the object whose status it is and by the contributor.
#[derive(Default)]
pub struct Contributions {
    parts: HashMap<ObjectRef, Parts>,
    /// The objects to which each contributor contributes.
    objects: HashMap<ObjectRef, BTreeSet<ObjectRef>>,
}

// === impl Contributions ===

impl Contributions {
    /// Replaces everything that `by` contributes to statuses: for each object the conditions. Returns the objects whose
    /// parts changed.
    pub fn set(&mut self, by: &ObjectRef, parts: BTreeMap<ObjectRef, Vec<Verdict>>) -> BTreeSet<ObjectRef> {
        let before = self.objects.remove(by).unwrap_or_default();
        let now: BTreeSet<ObjectRef> = parts.keys().cloned().collect();
        let mut changed = BTreeSet::new();
        for (about, part) in parts {
            let of_object = self.parts.entry(about.clone()).or_default();
            if of_object.get(by) != Some(&part) {
                of_object.insert(by.clone(), part);
                changed.insert(about);
            }
        }
        for about in before.difference(&now) {
            self.remove(about, by);
            changed.insert(about.clone());
        }
        if !now.is_empty() {
            self.objects.insert(by.clone(), now);
        }
        changed
    }

    /// What all contributors give to the status of an object.
    pub fn of(&self, about: &ObjectRef) -> Parts {
        self.parts.get(about).cloned().unwrap_or_default()
    }

    fn remove(&mut self, about: &ObjectRef, by: &ObjectRef) {
        let Some(parts) = self.parts.get_mut(about) else { return };
        parts.remove(by);
        if parts.is_empty() {
            self.parts.remove(about);
        }
    }
}
