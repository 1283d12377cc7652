//! Schemas of fields that are read from JSON.

use kube::core::cel::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::field::MAX_ENTRIES;

/// Returns the rule that an object has this field. A field of this module's types can't be required by its type alone: the
/// programs read objects without it, and report its absence.
pub(super) fn required(field: &str) -> Rule {
    Rule::new(format!("has(self.{field})")).message("is required").field_path(format!(".{field}"))
}

/// Any value: a name or a definition.
pub(super) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// An object with any fields.
pub(super) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list of objects with any fields.
pub(super) fn objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_ENTRIES,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

/// A list of names or definitions.
pub(super) fn list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_ENTRIES,
        "items": {"x-kubernetes-preserve-unknown-fields": true},
    })
}
