//! Selectors of pods: [`read`].

use std::collections::BTreeSet;

use super::field::Field;
use super::form::PodFilter;
use crate::selector::{Requirement, Test};
use crate::violation::Checks;

const KEYS: [&str; 6] =
    ["matchLabels", "matchExpressions", "matchFields", "matchNamespace", "matchService", "serviceName"];

/// Reads a selector. One that selects nothing in particular is a violation: it would select every pod.
pub(super) fn read(field: &Field<'_>, checks: &mut Checks) -> PodFilter {
    let mut filter = PodFilter::default();
    let known = field.object(checks).is_some_and(|all| KEYS.iter().any(|key| all.contains_key(*key)));
    checks.must(known, &field.path, format!("must have at least one of {}", KEYS.join(", ")));
    if let Some(labels) = field.get("matchLabels") {
        for (key, value) in labels.object(checks).into_iter().flatten() {
            let value = Field::new(value, format!("{}[{key}]", labels.path));
            let text = value.value.as_str();
            checks.must(text.is_some(), &value.path, "must be a text");
            filter.selector.labels.extend(text.map(|text| Requirement::is_in(key.clone(), [text])));
        }
    }
    for (key, list) in
        [("matchExpressions", &mut filter.selector.labels), ("matchFields", &mut filter.selector.fields)]
    {
        let items = field.get(key).map(|all| all.items(checks)).unwrap_or_default();
        list.extend(items.iter().filter_map(|item| requirement(item, checks)));
    }
    filter.namespace = field.get("matchNamespace").and_then(|name| name.name(checks)).map(str::to_owned);
    let service = field.either("matchService", "serviceName", checks);
    filter.service = service.and_then(|name| name.name(checks)).map(str::to_owned);
    filter
}

fn requirement(field: &Field<'_>, checks: &mut Checks) -> Option<Requirement> {
    field.object(checks)?;
    let key = field.get("key").and_then(|key| key.name(checks));
    checks.must(key.is_some(), &field.path, "needs a key");
    let operator = field.get("operator").and_then(|operator| operator.text(checks));
    let values = field.get("values").map(|values| values.items(checks)).unwrap_or_default();
    let values: BTreeSet<String> =
        values.iter().filter_map(|value| value.text(checks)).map(str::to_owned).collect();
    let lacks = matches!(operator, Some("In" | "NotIn")) && values.is_empty();
    checks.must(!lacks, &field.path, "In and NotIn need values");
    let test = match operator {
        Some("In") => Test::In(values),
        Some("NotIn") => Test::NotIn(values),
        Some("Exists") => Test::Exists,
        // The deployed schema has a misspelling.
        Some("DoesNotExist" | "DoesNotexist") => Test::DoesNotExist,
        other => {
            let path = format!("{}.operator", field.path);
            checks.must(false, path, format!("must be In, NotIn, Exists or DoesNotExist, is {other:?}"));
            return None;
        }
    };
    (!lacks).then_some(Requirement { key: key?.to_owned(), test })
}
