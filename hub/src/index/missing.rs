//! Selections that match nothing in their own namespace. They are indexed so that a matching pod elsewhere is noticed.
//!
//! A healthy cluster has few of them. A pod's event looks up only the pod's own label pairs here.

use std::collections::{BTreeSet, HashMap};

use portreeve_api::model::Selector;

use super::matches::{Labels, Name};
use crate::keyed_sets::KeyedSets;

/// A label pair that every match carries. `None` for selectors that require no particular value.
type Pair = Option<(String, String)>;

/// Selections without matches, by label pair.
#[derive(Default)]
pub struct Missing {
    selectors: HashMap<Name, Selector>,
    by_pair: KeyedSets<Pair, Name>,
}

// === impl Missing ===

impl Missing {
    /// Records that a selection matches nothing.
    pub fn insert(&mut self, name: &Name, selector: &Selector) {
        for pair in pairs(selector) {
            self.by_pair.insert(pair, name.clone());
        }
        self.selectors.insert(name.clone(), selector.clone());
    }

    /// Forgets a selection that matches something now or is no longer used.
    pub fn remove(&mut self, name: &Name) {
        let Some(selector) = self.selectors.remove(name) else { return };
        for pair in pairs(&selector) {
            self.by_pair.remove(&pair, name);
        }
    }

    /// Returns the selections that would match these labels.
    pub fn matching(&self, labels: &Labels) -> BTreeSet<Name> {
        if self.selectors.is_empty() {
            return BTreeSet::new();
        }
        let carried = labels.iter().map(|(k, v)| Some((k.clone(), v.clone()))).chain([None]);
        let names = carried.flat_map(|pair| self.by_pair.of(&pair));
        names.filter(|name| self.selectors.get(*name).is_some_and(|s| s.matches(labels))).cloned().collect()
    }
}

fn pairs(selector: &Selector) -> Vec<Pair> {
    let Some(pairs) = selector.first_pairs() else { return vec![None] };
    pairs.into_iter().map(|(k, v)| Some((k.to_owned(), v.to_owned()))).collect()
}
