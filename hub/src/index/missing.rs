//! Selections that find nothing in their own namespace, so that a pod elsewhere that they would match is noticed.
//!
//! They are few in a healthy cluster: a pod's event looks up its label pairs here, and nothing else.

use std::collections::{BTreeSet, HashMap};

use portreeve_api::model::Selector;

use super::matches::{Labels, Name};

/// A label pair that whatever matches carries; none for selectors that name no value.
type Pair = Option<(String, String)>;

/// The selections, by their label pairs.
#[derive(Default)]
pub struct Missing {
    selectors: HashMap<Name, Selector>,
    by_pair: HashMap<Pair, BTreeSet<Name>>,
}

// === impl Missing ===

impl Missing {
    /// A selection finds nothing.
    pub fn insert(&mut self, name: &Name, selector: &Selector) {
        for pair in pairs(selector) {
            self.by_pair.entry(pair).or_default().insert(name.clone());
        }
        self.selectors.insert(name.clone(), selector.clone());
    }

    /// A selection finds something, or is not used any more.
    pub fn remove(&mut self, name: &Name) {
        let Some(selector) = self.selectors.remove(name) else { return };
        for pair in pairs(&selector) {
            let Some(names) = self.by_pair.get_mut(&pair) else { continue };
            names.remove(name);
            if names.is_empty() {
                self.by_pair.remove(&pair);
            }
        }
    }

    /// The selections that would match these labels.
    pub fn matching(&self, labels: &Labels) -> BTreeSet<Name> {
        if self.selectors.is_empty() {
            return BTreeSet::new();
        }
        let carried = labels.iter().map(|(k, v)| Some((k.clone(), v.clone()))).chain([None]);
        let names = carried.filter_map(|pair| self.by_pair.get(&pair)).flatten();
        names.filter(|name| self.selectors.get(*name).is_some_and(|s| s.matches(labels))).cloned().collect()
    }
}

fn pairs(selector: &Selector) -> Vec<Pair> {
    let Some(pairs) = selector.first_pairs() else { return vec![None] };
    pairs.into_iter().map(|(k, v)| Some((k.to_owned(), v.to_owned()))).collect()
}
