//! The rules of a listener or rule list: [`of`].

use std::collections::BTreeSet;
use std::time::Duration;

use portreeve_api::model::{self, Elsewhere};
use serde_json::Value;

use super::objects::{Hop, Retry, Rewrite, Route, Rule};
use crate::translate::request::Request;

/// The retries of a route that sets none. These are l7mp's own defaults.
const ONCE: (&str, u32, u64) = ("never", 1, 2000);

/// Returns a rule, and adds the names of the Plan's own clusters that it leads to.
///
/// # Errors
/// Returns an error message if a part of the rule can't be read or leads to no cluster of the Plan.
pub fn of(request: &Request<'_>, rule: &model::Rule, used: &mut BTreeSet<String>) -> Result<Rule, String> {
    let predicate = rule.match_json.as_deref().map(|text| json("match", text)).transpose()?;
    let rewrite = |one: &model::Rewrite| {
        Ok(Rewrite {
            path: one.path.clone(),
            value: json(&format!("rewrite {}", one.path), &one.value_json)?,
        })
    };
    Ok(Rule {
        predicate,
        rewrite: rule.rewrites.iter().map(rewrite).collect::<Result<_, String>>()?,
        route: rule.route.as_ref().map(|way| route(request, way, used)).transpose()?,
        apply: rule.apply.clone(),
    })
}

fn json(what: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{what} is not JSON: {error}"))
}

fn route(request: &Request<'_>, way: &model::Route, used: &mut BTreeSet<String>) -> Result<Route, String> {
    let mut hops = |names: &[String]| names.iter().map(|name| hop(request, name, used)).collect();
    let (ingress, egress): (Result<_, String>, Result<_, String>) = (hops(&way.ingress), hops(&way.egress));
    let (ingress, egress) = (ingress?, egress?);
    let destination = hop(request, &way.destination, used)?;
    let (on, retries, timeout) = ONCE;
    let given = way.retry.as_ref();
    let timeout = request
        .plan
        .cluster(&way.destination)
        .and_then(|cluster| cluster.connect_timeout)
        .map_or(timeout, ms);
    let retry = Retry {
        retry_on: given.and_then(|retry| retry.on.clone()).unwrap_or_else(|| on.to_owned()),
        num_retries: given.and_then(|retry| retry.attempts).map_or(retries, Into::into),
        timeout: given.and_then(|retry| retry.timeout).map_or(timeout, ms),
    };
    Ok(Route { destination, ingress, egress, retry })
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn hop(request: &Request<'_>, name: &str, used: &mut BTreeSet<String>) -> Result<Hop, String> {
    let cluster =
        request.plan.cluster(name).ok_or_else(|| format!("it leads to {name}, which is no cluster"))?;
    Ok(match &cluster.elsewhere {
        Some(Elsewhere::Plan(resource)) => Hop::Cluster(resource.clone()),
        Some(Elsewhere::Proxy(own)) => Hop::Own(own.clone()),
        None => {
            used.insert(name.to_owned());
            Hop::Cluster(request.cluster_name(name).to_string())
        }
    })
}
