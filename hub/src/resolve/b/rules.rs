//! Rules: what happens to a session that matches.

use portreeve_api::b::form::{ActionForm, Reference as Named, RouteForm, RuleForm};
use portreeve_api::b::route::{self, Route};
use portreeve_api::model::{Protocol, Rewrite, Route as Way, Rule};
use portreeve_api::refs::ObjectRef;
use serde_json::Value;

use super::hops::Place;
use super::reference::Reference;
use super::{Resolving, json_socket, model};
use crate::object::Rejection;

/// The metadata that a session needs to reach a WebSocket cluster.
const HTTP: &str = "/HTTP";

// === impl Resolving ===

impl Resolving<'_, '_> {
    /// Returns rules. `field` is the path of the list, and `from` the protocol of the sessions' listener; `None` if the
    /// listener isn't known.
    pub(super) fn rules(
        &mut self,
        forms: &[RuleForm],
        from: Option<Protocol>,
        field: &str,
    ) -> Result<Vec<Rule>, Rejection> {
        let numbered = forms.iter().enumerate();
        numbered.map(|(number, form)| self.rule(form, from, (number, field))).collect()
    }

    /// Returns one rule. `number` is its place in the list at `field`.
    pub(super) fn rule(
        &mut self,
        form: &RuleForm,
        from: Option<Protocol>,
        (number, field): (usize, &str),
    ) -> Result<Rule, Rejection> {
        let mut rule = Rule {
            match_json: form.match_json.as_deref().map(|text| self.predicate(text)),
            rewrites: form.rewrites.iter().map(model::rewrite).collect(),
            ..Rule::default()
        };
        let field = format!("{field}[{number}].action");
        match &form.action {
            ActionForm::None => {}
            ActionForm::Apply(list) => rule.apply = Some(list.clone()),
            ActionForm::Route(route) => {
                let (way, web) = self.route(route, (number, &field))?;
                let speaks = matches!(from, Some(Protocol::Http | Protocol::Websocket));
                let has = rule.rewrites.iter().any(|one| one.path == HTTP || one.path.starts_with("/HTTP/"));
                if web && !speaks && !has {
                    rule.rewrites.insert(0, Rewrite { path: HTTP.into(), value_json: "{}".into() });
                }
                rule.route = Some(way);
            }
        }
        Ok(rule)
    }

    fn predicate(&self, text: &str) -> String {
        match serde_json::from_str::<Value>(text) {
            Ok(mut value) if self.json_socket => {
                json_socket::predicate(&mut value);
                value.to_string()
            }
            Ok(_) | Err(_) => text.to_owned(),
        }
    }

    /// Returns a route, and whether it leads through a WebSocket.
    fn route(
        &mut self,
        route: &Named<RouteForm>,
        (number, field): (usize, &str),
    ) -> Result<(Way, bool), Rejection> {
        let namespace = self.origin.namespace.clone();
        match route {
            Named::Inline(form) => {
                self.way(form, &format!("rule-{number}"), (&namespace, &format!("{field}.route")))
            }
            Named::Named(text) => {
                let reference = Reference::parse(text, &namespace);
                let Reference { namespace, name, .. } = &reference;
                let object = ObjectRef::namespaced(&route::KIND, namespace.clone(), name.clone());
                let found =
                    reference.may_be(&route::KIND).then(|| self.lookup.object::<Route>(&object)).flatten();
                let Some(form) = found.and_then(|found| found.form().ok()) else {
                    self.miss(format!("{field}.route: Route {namespace}/{name} does not exist"));
                    return Ok((Way::default(), false));
                };
                self.way(&form, &format!("route/{namespace}/{name}"), (namespace, &object.title()))
            }
        }
    }

    fn way(
        &mut self,
        form: &RouteForm,
        name: &str,
        (namespace, field): (&str, &str),
    ) -> Result<(Way, bool), Rejection> {
        let mut web = false;
        let mut lead = |hop: &_, part: &str| {
            let (name, field) = (format!("{name}/{part}"), format!("{field}.{part}"));
            let lead = self.hop(hop, Place { name: &name, namespace, field: &field })?;
            web |= lead.as_ref().is_some_and(|lead| lead.protocol == Some(Protocol::Websocket));
            Ok::<_, Rejection>(lead.map(|lead| lead.cluster).unwrap_or_default())
        };
        let destination = lead(&form.destination, "destination")?;
        let mut chain = |hops: &[_], part: &str| {
            let numbered = hops.iter().enumerate();
            numbered
                .map(|(number, hop)| lead(hop, &format!("{part}-{number}")))
                .collect::<Result<Vec<_>, _>>()
        };
        let (ingress, egress) = (chain(&form.ingress, "ingress")?, chain(&form.egress, "egress")?);
        Ok((Way { destination, ingress, egress, retry: form.retry.as_ref().map(model::retry) }, web))
    }
}
