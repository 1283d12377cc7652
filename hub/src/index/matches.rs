//! Maps selectors to the members whose labels they match, incrementally.
//!
//! The map works in both directions. A member's event visits only the selectors that share one of its label pairs. A new
//! selector visits only the members that carry its anchor pair. No operation iterates all members or all selectors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use portreeve_api::model::{Selector, Test};

use crate::keyed_sets::KeyedSets;

/// Labels of a member.
pub type Labels = BTreeMap<String, String>;

/// A reference-counted name.
pub type Name = Arc<str>;

/// A selector started or stopped matching a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift<S, M> {
    /// The selector.
    pub selector: S,
    /// The member.
    pub member: M,
    /// True when the member now matches.
    pub joined: bool,
}

/// The key under which a selector is indexed: the namespace (`None`: all namespaces) and one label pair of every match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Anchor {
    scope: Option<Name>,
    pair: Option<(String, String)>,
}

struct Member<S> {
    scope: Name,
    labels: Arc<Labels>,
    matched: BTreeSet<S>,
}

struct Entry<M> {
    /// Every matching member carries at least one of these.
    anchors: Vec<Anchor>,
    selector: Selector,
    matched: BTreeSet<M>,
}

/// Members, selectors and their matches. `S` names a selector, `M` a member.
pub struct Matches<S, M> {
    members: HashMap<M, Member<S>>,
    holders: KeyedSets<Anchor, M>,
    selectors: HashMap<S, Entry<M>>,
    anchored: KeyedSets<Anchor, S>,
    none: BTreeSet<M>,
    visited: u64,
}

impl<S, M> Default for Matches<S, M> {
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            holders: KeyedSets::default(),
            selectors: HashMap::new(),
            anchored: KeyedSets::default(),
            none: BTreeSet::new(),
            visited: 0,
        }
    }
}

// === impl Matches ===

impl<S: Ord + Hash + Clone, M: Ord + Hash + Clone> Matches<S, M> {
    /// Adds a member or changes its labels. Returns every selector that started or stopped matching it.
    pub fn set_member(&mut self, member: M, scope: Name, labels: impl Into<Arc<Labels>>) -> Vec<Shift<S, M>> {
        let labels = labels.into();
        if self.members.get(&member).is_some_and(|old| old.scope == scope && old.labels == labels) {
            return Vec::new();
        }
        let before = self.forget(&member);
        let now = self.matching(&scope, &labels);
        for anchor in anchors(&scope, &labels) {
            self.holders.insert(anchor, member.clone());
        }
        let mut shifts = Vec::new();
        for selector in before.difference(&now) {
            self.unmatch(selector, &member);
            shifts.push(Shift { selector: selector.clone(), member: member.clone(), joined: false });
        }
        for selector in now.difference(&before) {
            if let Some(entry) = self.selectors.get_mut(selector) {
                entry.matched.insert(member.clone());
            }
            shifts.push(Shift { selector: selector.clone(), member: member.clone(), joined: true });
        }
        self.members.insert(member, Member { scope, labels, matched: now });
        shifts
    }

    /// Removes a member. Returns every selector that matched it.
    pub fn remove_member(&mut self, member: &M) -> Vec<Shift<S, M>> {
        let before = self.forget(member);
        self.members.remove(member);
        let mut shifts = Vec::new();
        for selector in before {
            self.unmatch(&selector, member);
            shifts.push(Shift { selector, member: member.clone(), joined: false });
        }
        shifts
    }

    /// Adds a selector over the members of `scope` (`None`: of every scope) and returns its matches.
    /// A selector that is already known keeps its entry.
    pub fn add_selector(&mut self, name: S, scope: Option<Name>, wanted: Selector) -> &BTreeSet<M> {
        if !self.selectors.contains_key(&name) {
            let anchors = self.anchors_for(scope, &wanted);
            let found: BTreeSet<M> =
                anchors.iter().flat_map(|anchor| self.holders.of(anchor)).cloned().collect();
            self.visited += found.len() as u64;
            let mut matched = BTreeSet::new();
            for member in found {
                let Some(held) = self.members.get_mut(&member) else { continue };
                if wanted.matches(&held.labels) {
                    held.matched.insert(name.clone());
                    matched.insert(member);
                }
            }
            for anchor in &anchors {
                self.anchored.insert(anchor.clone(), name.clone());
            }
            self.selectors.insert(name.clone(), Entry { anchors, selector: wanted, matched });
        }
        self.matched(&name)
    }

    /// Removes a selector.
    pub fn remove_selector(&mut self, name: &S) {
        let Some(entry) = self.selectors.remove(name) else { return };
        for anchor in &entry.anchors {
            self.anchored.remove(anchor, name);
        }
        for member in &entry.matched {
            if let Some(held) = self.members.get_mut(member) {
                held.matched.remove(name);
            }
        }
    }

    /// The members that a selector matches, in order. Empty for an unknown selector.
    pub fn matched(&self, name: &S) -> &BTreeSet<M> {
        self.selectors.get(name).map_or(&self.none, |entry| &entry.matched)
    }

    /// All members, in no order.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &M> {
        self.members.keys()
    }

    /// Returns whether a member is known.
    pub fn has_member(&self, member: &M) -> bool {
        self.members.contains_key(member)
    }

    /// The selectors that match a member, in order.
    pub fn selectors_of(&self, member: &M) -> Vec<S> {
        self.members.get(member).map(|m| m.matched.iter().cloned().collect()).unwrap_or_default()
    }

    /// The number of entries visited since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.visited
    }

    /// Returns at most `most` members of any scope that the selector would match, as examples for a message.
    pub fn found_anywhere(&self, wanted: &Selector, most: usize) -> Vec<M> {
        let anchors = self.anchors_for(None, wanted);
        let held = anchors.iter().flat_map(|anchor| self.holders.of(anchor));
        held.filter(|m| self.members.get(*m).is_some_and(|k| wanted.matches(&k.labels)))
            .take(most)
            .cloned()
            .collect()
    }

    fn matching(&mut self, scope: &Name, labels: &Labels) -> BTreeSet<S> {
        let mut found = BTreeSet::new();
        for anchor in anchors(scope, labels) {
            for name in self.anchored.of(&anchor) {
                self.visited += 1;
                if self.selectors.get(name).is_some_and(|e| e.selector.matches(labels)) {
                    found.insert(name.clone());
                }
            }
        }
        found
    }

    fn forget(&mut self, member: &M) -> BTreeSet<S> {
        let Some(old) = self.members.get_mut(member) else { return BTreeSet::new() };
        let matched = std::mem::take(&mut old.matched);
        let anchors = anchors(&old.scope, &old.labels);
        for anchor in anchors {
            self.holders.remove(&anchor, member);
        }
        matched
    }

    fn unmatch(&mut self, selector: &S, member: &M) {
        self.visited += 1;
        if let Some(entry) = self.selectors.get_mut(selector) {
            entry.matched.remove(member);
        }
    }

    /// The anchors of a selector: the values of the requirement that the fewest members carry, because rare labels are the
    /// cheapest to look up. Ties go to the requirement with the fewest selectors. Without such a requirement, the anchor is
    /// the whole scope.
    fn anchors_for(&self, scope: Option<Name>, wanted: &Selector) -> Vec<Anchor> {
        let equal = wanted.labels.iter().filter_map(|r| match &r.test {
            Test::In(values) => Some((&r.key, values)),
            Test::NotIn(_) | Test::Exists | Test::DoesNotExist => None,
        });
        let options = equal.map(|(key, values)| {
            let pairs = values.iter().map(|value| Some((key.clone(), value.clone())));
            pairs.map(|pair| Anchor { scope: scope.clone(), pair }).collect::<Vec<_>>()
        });
        let held = |a: &Anchor| self.holders.get(a).map_or(0, BTreeSet::len);
        let crowd = |a: &Anchor| self.anchored.get(a).map_or(0, BTreeSet::len);
        let sum = |option: &[Anchor], of: &dyn Fn(&Anchor) -> usize| option.iter().map(of).sum::<usize>();
        let cost = |option: &Vec<Anchor>| (sum(option, &held), sum(option, &crowd));
        options.min_by_key(cost).unwrap_or_else(|| vec![Anchor { scope: scope.clone(), pair: None }])
    }
}

/// Every anchor under which a member with these labels can be found.
fn anchors(scope: &Name, labels: &Labels) -> Vec<Anchor> {
    let mut all = Vec::with_capacity(2 * labels.len() + 2);
    for scope in [Some(scope.clone()), None] {
        all.push(Anchor { scope: scope.clone(), pair: None });
        all.extend(
            labels.iter().map(|(k, v)| Anchor { scope: scope.clone(), pair: Some((k.clone(), v.clone())) }),
        );
    }
    all
}
