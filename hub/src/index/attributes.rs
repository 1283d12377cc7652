//! Attributes in little memory ([`Compact`]): the texts of all pods' labels repeat, so each is kept once ([`Texts`]).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A text that others share.
type Text = Arc<str>;

/// The texts in use.
#[derive(Default)]
pub struct Texts(HashSet<Text>);

/// Attributes of one member, sorted by key.
#[derive(Debug)]
pub struct Compact(Box<[(Text, Text)]>);

// === impl Texts ===

impl Texts {
    /// Stores attributes.
    pub fn compact(&mut self, attributes: &BTreeMap<String, String>) -> Compact {
        Compact(attributes.iter().map(|(key, value)| (self.text(key), self.text(value))).collect())
    }

    /// Forgets attributes, and the texts that nothing else uses.
    pub fn forget(&mut self, Compact(attributes): Compact) {
        // One use is the set's own, one is here.
        let unshared = |text: &Text| Arc::strong_count(text) == 2;
        for (key, value) in attributes {
            for text in [key, value] {
                if unshared(&text) {
                    self.0.remove(&text);
                }
            }
        }
    }

    fn text(&mut self, text: &str) -> Text {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new = Text::from(text);
        self.0.insert(new.clone());
        new
    }
}

// === impl Compact ===

impl Compact {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// The attributes in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Returns whether these are the same attributes.
    pub fn equals(&self, other: &BTreeMap<String, String>) -> bool {
        self.iter().eq(other.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn texts_are_shared_and_go_with_their_last_use() {
        let mut texts = Texts::default();
        let all = mk_attributes(&[("app", "web"), ("name", "web"), ("x", "")]);
        let (one, other) = (texts.compact(&all), texts.compact(&mk_attributes(&[("app", "web")])));
        assert!(one.equals(&all) && !other.equals(&all));
        assert_eq!((one.get("name"), one.get("x"), one.get("y")), (Some("web"), Some(""), None));
        assert_eq!(texts.0.len(), 5);
        texts.forget(one);
        assert_eq!(texts.0.len(), 2);
        texts.forget(other);
        assert!(texts.0.is_empty());
    }
}
