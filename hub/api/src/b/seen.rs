//! Which members of an object were looked for while it was read: [`Seen`]. The others are unknown.

use std::cell::RefCell;
use std::collections::HashSet;

use serde_json::Value;

/// The values that were looked for, and those whose members were. Values are told apart by their address.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: RefCell<HashSet<*const Value>>,
    opened: RefCell<HashSet<*const Value>>,
}

// === impl Seen ===

impl Seen {
    /// Records that a member of an object was looked for, or all items of a list. `found` is the member or the item.
    pub(super) fn note<'a>(&self, parent: &Value, found: impl IntoIterator<Item = &'a Value>) {
        self.opened.borrow_mut().insert(std::ptr::from_ref(parent));
        self.known.borrow_mut().extend(found.into_iter().map(std::ptr::from_ref));
    }

    /// Returns a warning for each member below those of `spec` that wasn't looked for.
    pub(super) fn unknown(&self, spec: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        for (key, value) in spec.as_object().into_iter().flatten() {
            self.add_unknown(value, &format!("spec.{key}"), &mut warnings);
        }
        warnings
    }

    fn add_unknown(&self, value: &Value, path: &str, warnings: &mut Vec<String>) {
        if !self.opened.borrow().contains(&std::ptr::from_ref(value)) {
            return;
        }
        for (key, member) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            match self.known.borrow().contains(&std::ptr::from_ref(member)) {
                true => self.add_unknown(member, &path, warnings),
                false => warnings.push(format!("{path}: unknown field, ignored")),
            }
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.add_unknown(item, &format!("{path}[{index}]"), warnings);
        }
    }
}
