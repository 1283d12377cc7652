//! Attributes in little memory ([`Compact`]): the labels of pods repeat, so each is kept once ([`Texts`]).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A text that others share.
type Text = Arc<str>;

/// Stands between a key and its value. No key has it.
const BETWEEN: char = '\0';

/// The texts in use.
#[derive(Default)]
pub struct Texts {
    known: HashSet<Text>,
    /// The attribute that is looked up.
    scratch: String,
}

/// Attributes of one member, sorted by key. Each is its key, [`BETWEEN`] and its value.
#[derive(Debug)]
pub struct Compact(Box<[Text]>);

// === impl Texts ===

impl Texts {
    /// Stores attributes.
    pub fn compact(&mut self, attributes: &BTreeMap<String, String>) -> Compact {
        Compact(attributes.iter().map(|(key, value)| self.attribute(key, value)).collect())
    }

    /// Forgets attributes, and the texts that nothing else uses.
    pub fn forget(&mut self, Compact(attributes): Compact) {
        for text in attributes {
            // One use is the set's own, one is here.
            if Arc::strong_count(&text) == 2 {
                self.known.remove(&text);
            }
        }
    }

    fn attribute(&mut self, key: &str, value: &str) -> Text {
        self.scratch.clear();
        self.scratch.push_str(key);
        self.scratch.push(BETWEEN);
        self.scratch.push_str(value);
        if let Some(known) = self.known.get(self.scratch.as_str()) {
            return known.clone();
        }
        let new = Text::from(self.scratch.as_str());
        self.known.insert(new.clone());
        new
    }
}

// === impl Compact ===

impl Compact {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|text| pair(text).0.cmp(key)).ok()?;
        Some(pair(&self.0[at]).1)
    }

    /// The attributes in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(pair)
    }

    /// Returns whether these are the same attributes.
    pub fn equals(&self, other: &BTreeMap<String, String>) -> bool {
        self.iter().eq(other.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }
}

fn pair(text: &Text) -> (&str, &str) {
    text.split_once(BETWEEN).unwrap_or((text, ""))
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
        let all = mk_attributes(&[("app", "web"), ("app.x", "web"), ("x", "")]);
        let (one, other) = (texts.compact(&all), texts.compact(&mk_attributes(&[("app", "web")])));
        assert!(one.equals(&all) && !other.equals(&all));
        assert_eq!((one.get("app.x"), one.get("x"), one.get("y")), (Some("web"), Some(""), None));
        assert_eq!(texts.known.len(), 3);
        texts.forget(one);
        assert_eq!(texts.known.len(), 1);
        texts.forget(other);
        assert!(texts.known.is_empty());
    }
}
