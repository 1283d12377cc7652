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
    /// Sets what `by` contributes to the status of `about`, in place of what it contributed before.
    pub fn set(&mut self, about: &ObjectRef, by: &ObjectRef, part: Vec<Verdict>) {
        self.parts.entry(about.clone()).or_default().insert(by.clone(), part);
        self.objects.entry(by.clone()).or_default().insert(about.clone());
    }

    /// Removes all that `by` contributes. Returns the objects to whose statuses it did.
    pub fn remove(&mut self, by: &ObjectRef) -> BTreeSet<ObjectRef> {
        let objects = self.objects.remove(by).unwrap_or_default();
        for about in &objects {
            let Some(parts) = self.parts.get_mut(about) else { continue };
            parts.remove(by);
            if parts.is_empty() {
                self.parts.remove(about);
            }
        }
        objects
    }

    /// What all contributors give to the status of an object.
    pub fn of(&self, about: &ObjectRef) -> Parts {
        self.parts.get(about).cloned().unwrap_or_default()
    }
}
