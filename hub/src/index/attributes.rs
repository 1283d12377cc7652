//! Attributes in little memory ([`Compact`]): the labels of pods repeat, so each is kept once ([`Texts`]).

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

/// Labels of a member.
pub type Labels = BTreeMap<String, String>;

/// A reference-counted name.
pub type Name = Arc<str>;

/// The place of a text among all texts. With four bytes instead of a pointer, 14 attributes of 150,000 pods take 25 MB less.
type Place = u32;

/// Stands between a key and its value. No key has it.
const BETWEEN: char = '\0';

/// The texts in use. Each is a key, [`BETWEEN`] and a value.
#[derive(Default)]
pub struct Texts {
    slots: Vec<Slot>,
    /// Slots without a text.
    free: Vec<Place>,
    /// The places of all texts, by the texts' hashes.
    places: HashTable<Place>,
    hashes: RandomState,
    /// The attribute that is looked up.
    scratch: String,
}

/// A text, and the number of attributes that it is.
#[derive(Default)]
struct Slot {
    text: Box<str>,
    uses: u32,
}

/// Attributes of one member, sorted by key.
#[derive(Debug)]
pub struct Compact(Box<[Place]>);

// === impl Texts ===

impl Texts {
    /// Stores attributes, which are sorted by key.
    pub fn compact<'a>(&mut self, attributes: impl Iterator<Item = (&'a String, &'a String)>) -> Compact {
        Compact(attributes.map(|(key, value)| self.hold(key, value)).collect())
    }

    /// Forgets attributes, and the texts that nothing else uses.
    pub fn forget(&mut self, Compact(attributes): Compact) {
        attributes.into_iter().for_each(|place| self.let_go(place));
    }

    /// The value of a key.
    pub fn get(&self, Compact(attributes): &Compact, key: &str) -> Option<&str> {
        let at = attributes.binary_search_by(|place| self.pair(*place).0.cmp(key)).ok()?;
        Some(self.pair(attributes[at]).1)
    }

    /// The attributes in order.
    pub fn iter(&self, Compact(attributes): &Compact) -> impl Iterator<Item = (&str, &str)> {
        attributes.iter().map(|place| self.pair(*place))
    }

    fn pair(&self, place: Place) -> (&str, &str) {
        let text = &*self.slots[place as usize].text;
        text.split_once(BETWEEN).unwrap_or((text, ""))
    }

    fn hold(&mut self, key: &str, value: &str) -> Place {
        self.scratch.clear();
        self.scratch.push_str(key);
        self.scratch.push(BETWEEN);
        self.scratch.push_str(value);
        let Self { slots, free, places, hashes, scratch } = self;
        let hash = hashes.hash_one(scratch.as_str());
        if let Some(known) = places.find(hash, |place| *slots[*place as usize].text == **scratch) {
            slots[*known as usize].uses += 1;
            return *known;
        }
        let new = Slot { text: scratch.as_str().into(), uses: 1 };
        let place = match free.pop() {
            Some(place) => {
                slots[place as usize] = new;
                place
            }
            None => {
                slots.push(new);
                (slots.len() - 1) as Place
            }
        };
        places.insert_unique(hash, place, |place| hashes.hash_one(&*slots[*place as usize].text));
        place
    }

    fn let_go(&mut self, place: Place) {
        let slot = &mut self.slots[place as usize];
        slot.uses -= 1;
        if slot.uses > 0 {
            return;
        }
        let hash = self.hashes.hash_one(&*std::mem::take(slot).text);
        if let Ok(entry) = self.places.find_entry(hash, |known| *known == place) {
            entry.remove();
        }
        self.free.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(texts: &Texts, held: &Compact) -> Vec<(String, String)> {
        texts.iter(held).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn mk_attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn texts_are_shared_and_go_with_their_last_use() {
        let mut texts = Texts::default();
        let all = mk_attributes(&[("app", "web"), ("app.x", "web"), ("x", "")]);
        let (one, other) =
            (texts.compact(all.iter()), texts.compact(mk_attributes(&[("app", "web")]).iter()));
        assert_eq!(pairs(&texts, &one), Vec::from_iter(all));
        let get = |key| texts.get(&one, key);
        assert_eq!((get("app.x"), get("x"), get("y")), (Some("web"), Some(""), None));
        assert_eq!((texts.places.len(), texts.slots.len()), (3, 3));
        texts.forget(one);
        assert_eq!((texts.places.len(), texts.get(&other, "app")), (1, Some("web")));
        texts.forget(other);
        assert_eq!((texts.places.len(), texts.free.len()), (0, 3));
    }

    #[test]
    fn places_are_used_again() {
        let mut texts = Texts::default();
        for round in 0..100 {
            let (one, two) = (round.to_string(), (round + 1).to_string());
            let attributes = mk_attributes(&[("a", &one), ("b", "same"), ("c", &two)]);
            let held = texts.compact(attributes.iter());
            assert_eq!(pairs(&texts, &held), Vec::from_iter(attributes), "{round}");
            assert_eq!(texts.iter(&held).nth(2), Some(("c", two.as_str())));
            texts.forget(held);
        }
        assert_eq!((texts.slots.len(), texts.places.len()), (3, 0));
    }
}
