//! Maps selectors to the members whose labels they match, incrementally.
//!
//! The map works in both directions. A member's event visits only the selectors that share one of its label pairs. A new
//! selector visits only the members that carry its anchor pair. No operation iterates all members or all selectors.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;

use portreeve_api::model::{Selector, Test};

use super::attributes::Texts;
pub use super::attributes::{Labels, Name};
use super::crowds::Crowds;
use super::member::{Content, Member};
use crate::keyed_sets::KeyedSets;

/// So many members, or selectors, are looked at without a search for a better key.
const FEW_MEMBERS: usize = 256;
const FEW_SELECTORS: usize = 8;

/// A selector started or stopped matching a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The selector.
    pub selector: Name,
    /// The member.
    pub member: Name,
    /// True when the member now matches.
    pub joined: bool,
}

/// The key under which a selector is indexed: the hash of a namespace (or of none, for all namespaces) and one label pair of every
/// match (or of none). Whatever is found under it is compared with the selector, so that equal hashes do no harm.
type Anchor = u64;

struct Entry {
    /// Every matching member carries at least one of these.
    anchors: Vec<Anchor>,
    scope: Option<Name>,
    selector: Selector,
    matched: BTreeSet<Name>,
}

/// The keys of labels under whose values members can be found.
enum Keys {
    All,
    /// Those that selectors were looked up under so far. Members have many labels that nobody selects by.
    Used(BTreeSet<String>),
}

/// Members, selectors and their matches. Both have names. `C` is what is kept of a member besides its labels.
pub struct Matches<C = ()> {
    members: HashMap<Name, Box<Member<C>>>,
    texts: Texts,
    keys: Keys,
    holders: Crowds<Name>,
    selectors: HashMap<Name, Entry>,
    anchored: KeyedSets<Anchor, Name>,
    none: BTreeSet<Name>,
    hashes: RandomState,
    visited: u64,
}

impl<C> Default for Matches<C> {
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            texts: Texts::default(),
            keys: Keys::All,
            holders: Crowds::default(),
            selectors: HashMap::new(),
            anchored: KeyedSets::default(),
            none: BTreeSet::new(),
            hashes: RandomState::new(),
            visited: 0,
        }
    }
}

// === impl Matches ===

impl<C: Content> Matches<C> {
    /// For very many members: they can only be found by keys that selectors use. The first selector with a new key visits all members
    /// once.
    pub fn by_used_keys() -> Self {
        Self { keys: Keys::Used(BTreeSet::new()), ..Self::default() }
    }

    /// Adds a member, or changes its content and labels. `labels` has those of the content too. Returns every selector that
    /// started or stopped matching it.
    pub fn set_member(&mut self, member: &Name, content: C, labels: &Labels) -> Vec<Shift> {
        let content = match self.members.get_mut(member) {
            Some(known) => known.refresh(content, labels, &self.texts),
            None => Err(content),
        };
        let Err(content) = content else { return Vec::new() };
        let member = self.member(member).unwrap_or(member).clone();
        let before = self.forget(&member);
        let now = self.matching(content.scope(), labels);
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
        for anchor in self.anchors(content.scope(), pairs(labels)) {
            self.holders.insert(anchor, member.clone());
        }
        let new = Member::new(content, labels, now.into_iter().collect(), &mut self.texts);
        self.members.insert(member, Box::new(new));
        shifts
    }

    /// Removes a member. Returns every selector that matched it.
    pub fn remove_member(&mut self, member: &Name) -> Vec<Shift> {
        let before = self.forget(member);
        let mut shifts = Vec::new();
        for selector in before {
            self.unmatch(&selector, member);
            shifts.push(Shift { selector, member: member.clone(), joined: false });
        }
        shifts
    }

    /// Adds a selector over the members of `scope` (`None`: of every scope) and returns its matches.
    /// A selector that is already known keeps its entry.
    pub fn add_selector(&mut self, name: Name, scope: Option<Name>, wanted: Selector) -> &BTreeSet<Name> {
        if self.selectors.contains_key(&name) {
            return self.matched(&name);
        }
        self.use_keys(&scope, &wanted);
        let anchors = self.anchors_for(scope.as_deref(), &wanted);
        let mut matched: BTreeSet<Name> =
            anchors.iter().flat_map(|at| self.holders.of(*at)).cloned().collect();
        self.visited += matched.len() as u64;
        matched.retain(|member| {
            let found = self
                .members
                .get_mut(member)
                .filter(|held| meets(&self.texts, &wanted, scope.as_deref(), held));
            found.map(|held| held.note(&name)).is_some()
        });
        for anchor in &anchors {
            self.anchored.insert(*anchor, name.clone());
        }
        self.selectors.insert(name.clone(), Entry { anchors, scope, selector: wanted, matched });
        self.matched(&name)
    }

    /// Removes a selector.
    pub fn remove_selector(&mut self, name: &Name) {
        let Some(entry) = self.selectors.remove(name) else { return };
        for anchor in &entry.anchors {
            self.anchored.remove(anchor, name);
        }
        for member in &entry.matched {
            if let Some(held) = self.members.get_mut(member) {
                held.strike(name);
            }
        }
    }

    /// The members that a selector matches, in order. Empty for an unknown selector.
    pub fn matched(&self, name: &Name) -> &BTreeSet<Name> {
        self.selectors.get(name).map_or(&self.none, |entry| &entry.matched)
    }

    /// All members with their contents, in no order.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&Name, &C)> {
        self.members.iter().map(|(name, member)| (name, member.content()))
    }

    /// Returns the known name that equals this one, if there is one.
    pub fn member(&self, member: &Name) -> Option<&Name> {
        self.members.get_key_value(member).map(|(known, _)| known)
    }

    /// The content of a member.
    pub fn content(&self, member: &Name) -> Option<&C> {
        self.members.get(member).map(|held| held.content())
    }

    /// Returns whether a member is known.
    pub fn has_member(&self, member: &Name) -> bool {
        self.members.contains_key(member)
    }

    /// The selectors that match a member, in order.
    pub fn selectors_of(&self, member: &Name) -> Vec<Name> {
        self.members.get(member).map(|held| held.matched().to_vec()).unwrap_or_default()
    }

    /// Returns whether a member has exactly these labels.
    pub fn carries(&self, member: &Name, labels: &Labels) -> bool {
        self.members.get(member).is_some_and(|held| held.carries(labels, &self.texts))
    }

    /// The labels of a member; none of an unknown one.
    pub fn labels_of(&self, member: &Name) -> Labels {
        let labels = self.members.get(member).into_iter().flat_map(|held| held.labels(&self.texts));
        labels.map(|(key, value)| (key.to_owned(), value.into_owned())).collect()
    }

    /// The number of entries visited since the start, for the tests of cost.
    pub fn visited(&self) -> u64 {
        self.visited
    }

    /// Returns at most `most` members of any scope that the selector would match, as examples for a message.
    pub fn found_anywhere(&self, wanted: &Selector, most: usize) -> Vec<Name> {
        let anchors = self.anchors_for(None, wanted);
        let held = anchors.iter().flat_map(|anchor| self.holders.of(*anchor));
        held.filter(|m| self.members.get(*m).is_some_and(|held| meets(&self.texts, wanted, None, held)))
            .take(most)
            .cloned()
            .collect()
    }

    fn matching(&mut self, scope: &str, labels: &Labels) -> BTreeSet<Name> {
        let mut found = BTreeSet::new();
        for anchor in self.anchors(scope, pairs(labels)) {
            for name in self.anchored.of(&anchor) {
                self.visited += 1;
                let Some(entry) = self.selectors.get(name) else { continue };
                let is_near = entry.scope.as_ref().is_none_or(|wanted| **wanted == *scope);
                if is_near && entry.selector.matches(labels) {
                    found.insert(name.clone());
                }
            }
        }
        found
    }

    /// Forgets a member. Returns what matched it.
    fn forget(&mut self, member: &Name) -> BTreeSet<Name> {
        let Some(held) = self.members.remove(member) else { return BTreeSet::new() };
        let labels: Vec<_> = held.labels(&self.texts).collect();
        for anchor in self.anchors(held.scope(), labels.iter().map(|(key, value)| (*key, &**value))) {
            self.holders.remove(anchor, member);
        }
        drop(labels);
        held.take_apart(&mut self.texts).into_iter().collect()
    }

    fn unmatch(&mut self, selector: &Name, member: &Name) {
        self.visited += 1;
        if let Some(entry) = self.selectors.get_mut(selector) {
            entry.matched.remove(member);
        }
    }

    /// Makes members findable by another key of a selector, as long as those in use would lead to too many members or selectors.
    fn use_keys(&mut self, scope: &Option<Name>, wanted: &Selector) {
        loop {
            let Keys::Used(used) = &self.keys else { return };
            let unused = values(wanted).map(|(key, _)| key).find(|key| !used.contains(*key));
            let Some(unused) = unused.cloned() else { return };
            if values(wanted).any(|(key, _)| used.contains(key)) {
                let anchors = self.anchors_for(scope.as_deref(), wanted);
                let (held, crowd) = self.cost(&anchors);
                if held <= FEW_MEMBERS && crowd <= FEW_SELECTORS {
                    return;
                }
            }
            self.use_key(unused);
        }
    }

    fn use_key(&mut self, key: String) {
        for (member, held) in &self.members {
            self.visited += 1;
            let Some(value) = held.label(&key, &self.texts) else { continue };
            for scope in [Some(held.scope()), None] {
                let anchor = anchor(&self.hashes, scope, Some((&key, &value)));
                self.holders.insert(anchor, member.clone());
            }
        }
        if let Keys::Used(used) = &mut self.keys {
            used.insert(key);
        }
    }

    /// The anchors of a selector: the values of the requirement that the fewest members carry, because rare labels are the
    /// cheapest to look up. Ties go to the requirement with the fewest selectors. Without such a requirement, the anchor is
    /// the whole scope.
    fn anchors_for(&self, scope: Option<&str>, wanted: &Selector) -> Vec<Anchor> {
        let options = values(wanted).filter(|(key, _)| self.keys.has(key)).map(|(key, values)| {
            let pair = |value| anchor(&self.hashes, scope, Some((key, value)));
            values.iter().map(|value| pair(value)).collect::<Vec<_>>()
        });
        let rarest = options.min_by_key(|option| self.cost(option));
        rarest.unwrap_or_else(|| vec![anchor(&self.hashes, scope, None)])
    }

    /// The members and the selectors under some anchors.
    fn cost(&self, anchors: &[Anchor]) -> (usize, usize) {
        let held = anchors.iter().map(|anchor| self.holders.count(*anchor)).sum();
        (held, anchors.iter().map(|anchor| self.anchored.get(anchor).map_or(0, BTreeSet::len)).sum())
    }

    /// Every anchor under which a member with these labels can be found.
    fn anchors<'l>(&self, scope: &str, labels: impl Iterator<Item = (&'l str, &'l str)>) -> Vec<Anchor> {
        let pairs: Vec<_> = labels.filter(|(key, _)| self.keys.has(key)).map(Some).chain([None]).collect();
        let scopes = [Some(scope), None].into_iter();
        scopes.flat_map(|scope| pairs.iter().map(move |pair| anchor(&self.hashes, scope, *pair))).collect()
    }
}

// === impl Keys ===

impl Keys {
    fn has(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Used(used) => used.contains(key),
        }
    }
}

/// The labels of which a selector requires one of some values.
fn values(wanted: &Selector) -> impl Iterator<Item = (&String, &BTreeSet<String>)> {
    wanted.labels.iter().filter_map(|requirement| match &requirement.test {
        Test::In(values) => Some((&requirement.key, values)),
        Test::NotIn(_) | Test::Exists | Test::DoesNotExist => None,
    })
}

fn pairs(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

fn meets<C: Content>(texts: &Texts, wanted: &Selector, scope: Option<&str>, held: &Member<C>) -> bool {
    scope.is_none_or(|scope| scope == held.scope()) && wanted.admits(|key| held.label(key, texts))
}

fn anchor(hashes: &RandomState, scope: Option<&str>, pair: Option<(&str, &str)>) -> Anchor {
    hashes.hash_one((scope, pair))
}
