//! JSON predicates (draft-snell-json-test): [`check`]. l7mp never complains about an invalid one, which just never matches.

use serde_json::Value;

use super::field::Field;
use crate::violation::Checks;

/// The deepest nesting.
const MAX_DEPTH: usize = 16;

/// The longest predicate, in bytes of JSON.
const MAX_BYTES: usize = 4096;

/// The operators that compare the value at a path.
const OPERATORS: [&str; 13] = [
    "test",
    "contains",
    "contained",
    "intersects",
    "defined",
    "undefined",
    "starts",
    "ends",
    "in",
    "less",
    "more",
    "matches",
    "type",
];

/// The names of types, for the operator `type`.
const TYPES: [&str; 14] = [
    "number",
    "string",
    "boolean",
    "object",
    "array",
    "null",
    "undefined",
    "date",
    "date-time",
    "time",
    "lang",
    "lang-range",
    "iri",
    "absolute-iri",
];

/// Checks a predicate. An empty one always matches.
pub(super) fn check(field: &Field<'_>, checks: &mut Checks) {
    let length = field.value.to_string().len();
    checks.must(
        length <= MAX_BYTES,
        &field.path,
        format!("has {length} bytes of JSON, {MAX_BYTES} are allowed"),
    );
    let empty = field.value.as_object().is_some_and(|all| all.is_empty());
    if length <= MAX_BYTES && !empty {
        one(field, MAX_DEPTH, checks);
    }
}

fn one(field: &Field<'_>, depth: usize, checks: &mut Checks) {
    if field.object(checks).is_none() {
        return;
    }
    checks.must(depth > 0, &field.path, format!("is nested more than {MAX_DEPTH} times"));
    let Some(operator) = field.get("op").and_then(|op| op.text(checks)).filter(|_| depth > 0) else {
        return checks.must(field.get("op").is_some(), &field.path, "needs an op, for example test");
    };
    let path = field.get("path");
    if let Some(path) = &path {
        let text = path.text(checks).unwrap_or("/");
        checks.must(text.starts_with('/'), &path.path, format!("must begin with /, is {text:?}"));
    }
    match operator {
        "and" | "or" | "not" => {
            let apply = field.get("apply").map(|apply| apply.items(checks)).unwrap_or_default();
            checks.must(
                !apply.is_empty(),
                &field.path,
                format!("{operator} needs apply: a list of predicates"),
            );
            apply.iter().for_each(|inner| one(inner, depth - 1, checks));
        }
        operator => {
            let known = OPERATORS.contains(&operator);
            let message = format!("{operator:?} is none of {}, and, or, not", OPERATORS.join(", "));
            checks.must(known, format!("{}.op", field.path), message);
            let message = format!("{operator} needs a path, for example /IP/src_addr");
            checks.must(path.is_some() || !known, &field.path, message);
            operand(field, operator, checks);
        }
    }
}

/// Checks the value that an operator compares with.
fn operand(field: &Field<'_>, operator: &str, checks: &mut Checks) {
    let value = field.member("value").map(|value| value.value);
    let fits = |wanted: &str, fits: fn(&Value) -> bool, checks: &mut Checks| {
        checks.must(value.is_some_and(fits), &field.path, format!("{operator} needs value: {wanted}"));
    };
    if let Some(ignore) = field.get("ignore_case") {
        ignore.yes(checks);
    }
    match operator {
        "test" => fits("any value", |_| true, checks),
        "defined" | "undefined" => {}
        "less" | "more" => fits("a number", Value::is_number, checks),
        "in" => fits("a list", Value::is_array, checks),
        "contains" | "starts" | "ends" | "matches" => fits("a text", Value::is_string, checks),
        "type" => fits(
            "number, string, boolean, object, array, null or undefined",
            |one| one.as_str().is_some_and(|name| TYPES.contains(&name)),
            checks,
        ),
        "contained" | "intersects" => {
            fits("a text or a list", |one| one.is_string() || one.is_array(), checks)
        }
        // An unknown operator, which the caller reports.
        _ => {}
    }
}
