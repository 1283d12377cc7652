//! A value in an object and its path: [`Field`]. Parts of API B may be a name or a definition, which no type of Rust's
//! schemas can say, so they are read from JSON.

use std::num::{NonZeroU16, NonZeroU32};

use serde_json::{Map, Value};

use super::seen::Seen;
use crate::violation::Checks;

/// A value and its path.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    /// The value.
    pub(super) value: &'a Value,
    /// The path in the API server's notation.
    pub(super) path: String,
    /// Where looked for members are recorded, if anybody asks for unknown ones.
    seen: Option<&'a Seen>,
}

/// The largest number of characters in a text.
pub(super) const MAX_TEXT: usize = 1024;

/// The pattern of a name, as the API server evaluates it: no white space.
pub(super) const NAME_PATTERN: &str = r"^[^\s\v\x{85}\p{Z}]+$";

/// The largest number of entries in a list.
pub(super) const MAX_ENTRIES: usize = 256;

/// Returns the canonical form of a path in a session's metadata, which users write with and without slashes at both ends.
pub(super) fn path(text: &str) -> String {
    format!("/{}", text.trim_matches('/'))
}

// === impl Field ===

impl<'a> Field<'a> {
    /// Creates a field.
    pub(super) fn new(value: &'a Value, path: impl Into<String>) -> Self {
        Self { value, path: path.into(), seen: None }
    }

    /// Creates the field `spec` of an object, and records in `seen` which members are looked for.
    pub(super) fn watched(value: &'a Value, seen: &'a Seen) -> Self {
        Self { value, path: "spec".into(), seen: Some(seen) }
    }

    /// Returns a member, even if it is null.
    pub(super) fn member(&self, key: &str) -> Option<Field<'a>> {
        let value = self.value.get(key);
        if let Some(seen) = self.seen {
            seen.note(self.value, value);
        }
        Some(Self { value: value?, path: format!("{}.{key}", self.path), seen: self.seen })
    }

    /// Looks for members that are known and have no effect.
    pub(super) fn pass_over(&self, keys: &[&str]) {
        keys.iter().for_each(|key| drop(self.member(key)));
    }

    /// Returns a member of an object; `None` if it is missing or null.
    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        self.member(key).filter(|field| !field.value.is_null())
    }

    /// Returns how many of these members are given.
    pub(super) fn given(&self, keys: &[&str]) -> usize {
        keys.iter().filter(|key| self.get(key).is_some()).count()
    }

    /// Returns the members of an object, including nulls. Any other value is a violation.
    pub(super) fn object(&self, checks: &mut Checks) -> Option<&'a Map<String, Value>> {
        let object = self.value.as_object();
        checks.must(object.is_some(), &self.path, "must be an object");
        object
    }

    /// Returns a text that is not empty. Any other value is a violation.
    pub(super) fn text(&self, checks: &mut Checks) -> Option<&'a str> {
        let text = self.value.as_str();
        checks.must(text.is_some(), &self.path, "must be a text");
        checks.length(text?, (1, MAX_TEXT), &self.path);
        text.filter(|text| !text.is_empty())
    }

    /// Returns a name: a text without white space.
    pub(super) fn name(&self, checks: &mut Checks) -> Option<&'a str> {
        let name = self.text(checks)?;
        let plain = !name.contains(char::is_whitespace);
        checks.must(plain, &self.path, format!("{name:?} has white space, which l7mp allows in no name"));
        Some(name).filter(|_| plain)
    }

    /// Returns the canonical form of a path to a part of a session's metadata.
    pub(super) fn part(&self, checks: &mut Checks) -> Option<String> {
        let part = path(self.text(checks)?);
        let names = part != "/";
        checks.must(names, &self.path, "must name a part of the metadata, for example /labels/session_id");
        Some(part).filter(|_| names)
    }

    /// Returns the items of a list, each with its path. Any other value is a violation.
    pub(super) fn items(&self, checks: &mut Checks) -> Vec<Field<'a>> {
        checks.must(self.value.is_array(), &self.path, "must be a list");
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        checks.count(items.len(), (0, MAX_ENTRIES), &self.path);
        if let Some(seen) = self.seen {
            seen.note(self.value, items);
        }
        let item = |(index, value)| Self { value, path: format!("{}[{index}]", self.path), seen: self.seen };
        items.iter().enumerate().map(item).collect()
    }

    /// Returns a whole number from 0.
    pub(super) fn number(&self, checks: &mut Checks) -> Option<u32> {
        let number = self.value.as_u64().and_then(|number| u32::try_from(number).ok());
        checks.must(
            number.is_some(),
            &self.path,
            format!("must be a whole number from 0, is {}", self.value),
        );
        number
    }

    /// Returns a whole number from 1.
    pub(super) fn positive(&self, checks: &mut Checks) -> Option<NonZeroU32> {
        let number = self.number(checks)?;
        checks.must(number > 0, &self.path, "must be at least 1, is 0");
        NonZeroU32::new(number)
    }

    /// Returns a port.
    pub(super) fn port(&self, checks: &mut Checks) -> Option<NonZeroU16> {
        let port = self.value.as_u64().and_then(|port| u16::try_from(port).ok()).and_then(NonZeroU16::new);
        checks.must(port.is_some(), &self.path, format!("must be from 1 to 65535, is {}", self.value));
        port
    }

    /// Returns true or false.
    pub(super) fn yes(&self, checks: &mut Checks) -> bool {
        let yes = self.value.as_bool();
        checks.must(yes.is_some(), &self.path, "must be true or false");
        yes.unwrap_or_default()
    }

    /// Returns the field that is given of two spellings. Both at once is a violation.
    pub(super) fn either(&self, one: &str, other: &str, checks: &mut Checks) -> Option<Field<'a>> {
        let (first, second) = (self.get(one), self.get(other));
        let both = first.is_some() && second.is_some();
        checks.must(
            !both,
            &self.path,
            format!("{one} and {other} are two forms of one field: give one of them"),
        );
        first.or(second)
    }
}
