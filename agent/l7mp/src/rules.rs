//! Makes rules with their routes, for listeners ([`these`]) and for rule lists of the proxy's own configuration
//! ([`insertion`]).

use std::collections::BTreeSet;

use portreeve_agent_core::translate::l7mp::objects::{self, Hop, Route};
use portreeve_xds::Name;
use serde_json::{Value, json};

use crate::actual::Actual;
use crate::names;
use crate::wanted::{Hold, Insertion, Rule, Wanted};

/// Makes a listener's rules.
pub(crate) fn these(
    resource: &str,
    rules: &[objects::Rule],
    wanted: &Wanted,
    actual: &Actual,
) -> Result<Vec<Rule>, Hold> {
    let made = rules.iter().enumerate();
    made.map(|(position, one)| rule((resource, position), one, wanted, actual)).collect()
}

/// Makes a rule for a list of the proxy's own configuration.
pub(crate) fn insertion(
    resource: &str,
    body: &objects::Insertion,
    wanted: &Wanted,
    actual: &Actual,
) -> Result<Insertion, Hold> {
    if !actual.has_foreign_list(&body.list) {
        return Err(no_list(resource, &body.list));
    }
    let position = body.position as usize;
    let rule = rule((resource, position), &body.rule, wanted, actual)?;
    Ok(Insertion { list: body.list.clone(), position, rule })
}

/// Returns the cluster resources that rules lead to.
pub(crate) fn leads(rules: &[objects::Rule]) -> BTreeSet<Name> {
    let routes = rules.iter().filter_map(|rule| rule.route.as_ref());
    let hops = routes.flat_map(|route| route.ingress.iter().chain([&route.destination]).chain(&route.egress));
    let resource = |hop: &Hop| match hop {
        Hop::Cluster(name) => Some(name.as_str().into()),
        Hop::Own(_) => None,
    };
    hops.filter_map(resource).collect()
}

/// Refuses a resource because the proxy's own configuration lacks a rule list.
pub(crate) fn no_list(resource: &str, list: &str) -> Hold {
    Hold::Refused(format!(
        "{resource} refers to the rule list {list:?}, which the proxy's own configuration does not have: add it there or \
         correct the name"
    ))
}

fn rule(
    (resource, position): (&str, usize),
    rule: &objects::Rule,
    wanted: &Wanted,
    actual: &Actual,
) -> Result<Rule, Hold> {
    let mut action = json!({});
    if !rule.rewrite.is_empty() {
        action["rewrite"] = json!(rule.rewrite);
    }
    if let Some(list) = &rule.apply {
        if !actual.has_foreign_list(list) {
            return Err(no_list(resource, list));
        }
        action["apply"] = json!(list);
    }
    let mut clusters = Vec::new();
    if let Some(route) = &rule.route {
        let hop = |hop: &Hop| cluster(resource, hop, wanted, actual);
        action["route"] = self::route(route, hop, &mut clusters)?;
    }
    let mut body = json!({"action": action});
    if let Some(predicate) = &rule.predicate {
        body["match"] = predicate.clone();
    }
    let name = names::rule(resource, position, &body);
    body["name"] = json!(name);
    if !clusters.is_empty() {
        body["action"]["route"]["name"] = json!(name);
    }
    Ok(Rule { name, body, clusters })
}

/// Makes a route without its name, and collects its clusters.
fn route(
    route: &Route,
    name: impl Fn(&Hop) -> Result<String, Hold>,
    clusters: &mut Vec<String>,
) -> Result<Value, Hold> {
    let destination = name(&route.destination)?;
    let chain = |hops: &[Hop]| hops.iter().map(&name).collect::<Result<Vec<_>, _>>();
    let (ingress, egress) = (chain(&route.ingress)?, chain(&route.egress)?);
    let mut made = json!({"destination": destination, "retry": route.retry});
    for (field, chain) in [("ingress", &ingress), ("egress", &egress)] {
        if !chain.is_empty() {
            made[field] = json!(chain);
        }
    }
    clusters.push(destination);
    clusters.extend(ingress);
    clusters.extend(egress);
    Ok(made)
}

/// Returns a cluster's object name.
fn cluster(resource: &str, hop: &Hop, wanted: &Wanted, actual: &Actual) -> Result<String, Hold> {
    match hop {
        Hop::Cluster(name) => wanted.cluster_name(name).map(str::to_owned),
        Hop::Own(name) if actual.has_foreign_cluster(name) => Ok(name.clone()),
        Hop::Own(name) => Err(Hold::Refused(format!(
            "{resource} refers to the cluster {name:?}, which the proxy's own configuration does not have: add it there or \
             correct the name"
        ))),
    }
}
