//! Selectors of pods: [`read`].

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::field::{Field, MAX_TEXT};
use super::form::PodFilter;
use crate::identifiers::{is_label_key, is_label_value};
use crate::pod;
use crate::selector::{Requirement, Test};
use crate::violation::Checks;

const KEYS: [&str; 6] =
    ["matchLabels", "matchExpressions", "matchFields", "matchNamespace", "matchService", "serviceName"];

/// The largest number of labels in `matchLabels`.
const MAX_LABELS: usize = 64;

/// Reads a selector. One that selects nothing in particular is a violation: it would select every pod.
pub(super) fn read(field: &Field<'_>, checks: &mut Checks) -> PodFilter {
    let mut filter = PodFilter::default();
    field.object(checks);
    let empty = |key: &str, value: &Value| match key {
        "matchLabels" => value.as_object().is_some_and(Map::is_empty),
        "matchExpressions" | "matchFields" => value.as_array().is_some_and(Vec::is_empty),
        _ => false,
    };
    let selects = KEYS.iter().any(|key| field.get(key).is_some_and(|given| !empty(key, given.value)));
    let message = format!("would select every pod: must have at least one of {}", KEYS.join(", "));
    checks.must(selects || !field.value.is_object(), &field.path, message);
    if let Some(labels) = field.get("matchLabels") {
        let entries = labels.object(checks);
        checks.count(entries.map_or(0, Map::len), (0, MAX_LABELS), &labels.path);
        for (key, value) in entries.into_iter().flatten() {
            let value = Field::new(value, format!("{}[{key}]", labels.path));
            let text = value.value.as_str();
            checks.must(text.is_some(), &value.path, "must be a text");
            checks.must(is_label_key(key), &value.path, format!("{key:?} is no key of a label"));
            let message = format!("{} is no value of a label, so no pod has it", value.value);
            checks.must(text.is_none_or(is_label_value), &value.path, message);
            filter.selector.labels.extend(text.map(|text| Requirement::is_in(key.clone(), [text])));
        }
    }
    let expressions = field.get("matchExpressions").map(|all| all.items(checks)).unwrap_or_default();
    filter.selector.labels.extend(expressions.iter().filter_map(|item| requirement(item, checks)));
    let fields = field.get("matchFields").map(|all| all.items(checks)).unwrap_or_default();
    for item in fields {
        let found = requirement(&item, checks);
        if let Some(requirement) = &found {
            let message =
                format!("{:?} is none of the supported fields: {}", requirement.key, pod::FIELDS.join(", "));
            checks.must(pod::FIELDS.contains(&&*requirement.key), format!("{}.key", item.path), message);
        }
        filter.selector.fields.extend(found);
    }
    filter.namespace = field.get("matchNamespace").and_then(|name| name.name(checks)).map(str::to_owned);
    let service = field.either("matchService", "serviceName", checks);
    filter.service = service.and_then(|name| name.name(checks)).map(str::to_owned);
    filter
}

fn requirement(field: &Field<'_>, checks: &mut Checks) -> Option<Requirement> {
    field.object(checks)?;
    let key = field.get("key").and_then(|key| key.name(checks));
    checks.must(field.get("key").is_some(), &field.path, "needs a key");
    let operator = field.get("operator").and_then(|operator| operator.text(checks));
    let values = field.get("values").map(|values| values.items(checks)).unwrap_or_default();
    let values: BTreeSet<String> = values.iter().filter_map(|one| value(one, checks)).collect();
    let given =
        field.get("values").is_some_and(|values| values.value.as_array().is_none_or(|all| !all.is_empty()));
    let lacks = matches!(operator, Some("In" | "NotIn")) && !given;
    checks.must(!lacks, &field.path, "In and NotIn need values");
    let test = match operator {
        Some("In") => Test::In(values),
        Some("NotIn") => Test::NotIn(values),
        Some("Exists") => Test::Exists,
        // The deployed schema has a misspelling.
        Some("DoesNotExist" | "DoesNotexist") => Test::DoesNotExist,
        other => {
            let path = format!("{}.operator", field.path);
            let message = "must be In, NotIn, Exists or DoesNotExist";
            let message =
                other.map_or_else(|| message.to_owned(), |other| format!("{message}, is {other:?}"));
            checks.must(false, path, message);
            return None;
        }
    };
    (!lacks).then_some(Requirement { key: key?.to_owned(), test })
}

/// Reads a value, which may be the empty text: labels may have it.
fn value(field: &Field<'_>, checks: &mut Checks) -> Option<String> {
    let text = field.value.as_str();
    checks.must(text.is_some(), &field.path, "must be a text");
    checks.length(text?, (0, MAX_TEXT), &field.path);
    text.map(str::to_owned)
}
