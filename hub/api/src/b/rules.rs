//! Rules and routes: [`rule`], [`route`].

use std::time::Duration;

use serde_json::Value;

use super::cluster;
use super::field::Field;
use super::form::{ActionForm, ClusterForm, Reference, Retry, Rewrite, RouteForm, RuleForm, RulesForm};
use super::predicate;
use crate::violation::Checks;

/// l7mp's defaults for the fields of a retry.
const RETRIES: u32 = 1;
const TIMEOUT: Duration = Duration::from_secs(2);

/// Reads a listener's rules; `None` if there are none.
pub(super) fn read(field: &Field<'_>, checks: &mut Checks) -> Option<RulesForm> {
    let rules = field.either("rules", "rulesRef", checks)?;
    match rules.value.as_str() {
        Some(_) => Some(RulesForm::List(rules.name(checks)?.to_owned())),
        None => Some(RulesForm::These(rules.items(checks).iter().map(|one| rule(one, checks)).collect())),
    }
}

/// Reads one rule.
pub(super) fn rule(field: &Field<'_>, checks: &mut Checks) -> RuleForm {
    let mut form = RuleForm { match_json: None, rewrites: Vec::new(), action: ActionForm::None };
    if field.object(checks).is_none() {
        return form;
    }
    if let Some(condition) = field.get("match") {
        predicate::check(&condition, checks);
        let empty = condition.value.as_object().is_some_and(|all| all.is_empty());
        form.match_json = (!empty).then(|| condition.value.to_string());
    }
    let Some(action) = field.get("action") else {
        checks.must(false, format!("{}.action", field.path), "is required");
        return form;
    };
    if action.object(checks).is_none() {
        return form;
    }
    let rewrites = action.get("rewrite").map(|all| all.items(checks)).unwrap_or_default();
    form.rewrites.extend(rewrites.iter().filter_map(|one| rewrite(one, checks)));
    form.action = match (action.either("route", "routeRef", checks), action.get("apply")) {
        (Some(_), Some(apply)) => {
            checks.must(false, &apply.path, "has no effect beside a route: give one of them");
            ActionForm::None
        }
        (Some(way), None) => named(&way, route, checks).map_or(ActionForm::None, ActionForm::Route),
        (None, Some(list)) => {
            let message = "l7mp does not run a rule's rewrites beside apply: put them into the rules of the applied list";
            checks.must(rewrites.is_empty(), format!("{}.rewrite", action.path), message);
            list.name(checks).map_or(ActionForm::None, |name| ActionForm::Apply(name.to_owned()))
        }
        (None, None) => ActionForm::None,
    };
    form
}

fn rewrite(field: &Field<'_>, checks: &mut Checks) -> Option<Rewrite> {
    field.object(checks)?;
    let at = field.get("path").and_then(|one| one.part(checks));
    checks.must(field.get("path").is_some(), &field.path, "needs a path");
    let value = field.either("value", "valueStr", checks);
    if let Some(text) = field.get("valueStr") {
        checks.must(text.value.is_string(), &text.path, "must be a text: give other values as value");
    }
    checks.must(value.is_some(), &field.path, "needs a value or a valueStr");
    Some(Rewrite { path: at?, value_json: value?.value.to_string() })
}

/// Reads a name, or a definition.
fn named<T>(
    field: &Field<'_>,
    definition: impl Fn(&Field<'_>, &mut Checks) -> T,
    checks: &mut Checks,
) -> Option<Reference<T>> {
    match field.value {
        Value::String(_) => Some(Reference::Named(field.name(checks)?.to_owned())),
        Value::Object(_) => Some(Reference::Inline(Box::new(definition(field, checks)))),
        other => {
            checks.must(false, &field.path, format!("must be a name or an object, is {other}"));
            None
        }
    }
}

/// Reads a route.
pub(super) fn route(field: &Field<'_>, checks: &mut Checks) -> RouteForm {
    let none = || Reference::Inline(Box::default());
    let mut form = RouteForm { destination: none(), ingress: Vec::new(), egress: Vec::new(), retry: None };
    if field.object(checks).is_none() {
        return form;
    }
    let destination = field.either("destination", "destinationRef", checks);
    checks.must(destination.is_some(), format!("{}.destination", field.path), "is required");
    form.destination = destination.and_then(|one| named(&one, cluster::read, checks)).unwrap_or_else(none);
    for (key, chain) in [("ingress", &mut form.ingress), ("egress", &mut form.egress)] {
        let items = field.get(key).map(|all| all.items(checks)).unwrap_or_default();
        chain.extend(items.iter().filter_map(|one| hop(one, checks)));
    }
    form.retry = field.get("retry").and_then(|one| retry(&one, checks));
    form
}

/// Reads an entry of a chain: `{cluster: …}`, `{clusterRef: …}`, a name, or a definition.
fn hop(field: &Field<'_>, checks: &mut Checks) -> Option<Reference<ClusterForm>> {
    let wrapped = field.given(&["cluster", "clusterRef"]) > 0;
    let inner = if wrapped { field.either("cluster", "clusterRef", checks)? } else { field.clone() };
    named(&inner, cluster::read, checks)
}

fn retry(field: &Field<'_>, checks: &mut Checks) -> Option<Retry> {
    field.object(checks)?;
    let on = field.get("retry_on").and_then(|one| {
        let text = one.text(checks)?;
        let known = matches!(text, "never" | "connect-failure" | "disconnect" | "always");
        let message = format!("must be never, connect-failure, disconnect or always, is {text:?}");
        checks.must(known, &one.path, message);
        known.then(|| text.to_owned())
    });
    let retries = field.get("num_retries").and_then(|one| one.number(checks));
    let timeout = field.get("timeout").and_then(|one| one.positive(checks));
    Some(Retry {
        on: on.unwrap_or_else(|| "never".to_owned()),
        retries: retries.unwrap_or(RETRIES),
        timeout: timeout.map_or(TIMEOUT, |ms| Duration::from_millis(ms.get().into())),
    })
}
