//! A member of [`Matches`](super::matches::Matches), with its labels in little memory ([`Member`]).

use std::borrow::Cow;

use super::attributes::{Compact, Labels, Name, Texts};

/// What is kept of a member besides its labels.
pub trait Content: PartialEq {
    /// The keys of labels that may be read from it.
    const KEYS: &'static [&'static str];

    /// The namespace that the member is in. Empty if it is in none.
    fn scope(&self) -> &str;

    /// The value of one of [`Self::KEYS`], if the member has this label and the content has its value. It is not stored a
    /// second time then.
    fn label(&self, key: &str) -> Option<Cow<'_, str>>;
}

impl Content for () {
    const KEYS: &'static [&'static str] = &[];

    fn scope(&self) -> &str {
        ""
    }

    fn label(&self, _key: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// A member.
pub struct Member<C> {
    content: C,
    /// Without those that the content has.
    labels: Compact,
    /// The selectors that match it, in order.
    matched: Box<[Name]>,
}

// === impl Member ===

impl<C: Content> Member<C> {
    /// Stores a member. `labels` are all its labels; `matched`, in order, the selectors that match it.
    pub fn new(content: C, labels: &Labels, matched: Box<[Name]>, texts: &mut Texts) -> Self {
        let stored = stored(&content, labels);
        Self { labels: texts.compact(stored), content, matched }
    }

    /// Frees what its labels hold, and returns the selectors that matched it.
    pub fn take_apart(self, texts: &mut Texts) -> Box<[Name]> {
        texts.forget(self.labels);
        self.matched
    }

    /// What is kept of it besides its labels.
    pub fn content(&self) -> &C {
        &self.content
    }

    /// The selectors that match it, in order.
    pub fn matched(&self) -> &[Name] {
        &self.matched
    }

    /// The namespace that it is in.
    pub fn scope(&self) -> &str {
        self.content.scope()
    }

    /// Sets another content, if the labels are the same. Returns the content if they are not.
    pub fn refresh(&mut self, content: C, labels: &Labels, texts: &Texts) -> Result<(), C> {
        let mut keys = C::KEYS.iter();
        let same = content.scope() == self.scope()
            && keys.all(|key| content.label(key) == self.content.label(key))
            && self.carries(labels, texts);
        if !same {
            return Err(content);
        }
        self.content = content;
        Ok(())
    }

    /// Returns whether it has exactly these labels.
    pub fn carries(&self, labels: &Labels, texts: &Texts) -> bool {
        let mut own = C::KEYS.iter().filter_map(|key| Some((key, self.content.label(key)?)));
        let pairs = stored(&self.content, labels);
        own.all(|(key, value)| labels.get(*key).is_some_and(|label| *label == value))
            && texts.iter(&self.labels).eq(pairs.map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// The value of a label.
    pub fn label<'a>(&'a self, key: &str, texts: &'a Texts) -> Option<Cow<'a, str>> {
        let own = self.content.label(key);
        own.or_else(|| texts.get(&self.labels, key).map(Cow::Borrowed))
    }

    /// All labels, in no order.
    pub fn labels<'a>(&'a self, texts: &'a Texts) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let own = C::KEYS.iter().filter_map(|key| Some((*key, self.content.label(key)?)));
        own.chain(texts.iter(&self.labels).map(|(key, value)| (key, Cow::Borrowed(value))))
    }

    /// Adds a selector that matches it.
    pub fn note(&mut self, selector: &Name) {
        if let Err(at) = self.matched.binary_search(selector) {
            let mut matched = std::mem::take(&mut self.matched).into_vec();
            matched.insert(at, selector.clone());
            self.matched = matched.into();
        }
    }

    /// Removes a selector.
    pub fn strike(&mut self, selector: &Name) {
        self.matched = self.matched.iter().filter(|one| *one != selector).cloned().collect();
    }
}

/// The labels that a content doesn't have.
fn stored<'l, C: Content>(content: &C, labels: &'l Labels) -> impl Iterator<Item = (&'l String, &'l String)> {
    labels.iter().filter(|(key, _)| content.label(key).is_none())
}
