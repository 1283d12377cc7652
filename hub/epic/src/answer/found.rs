//! Answers to GET: [`account`], [`group`], [`service`], [`cluster`] and [`endpoint`]. Objects are whole Kubernetes objects
//! (seed C.5).

use http::status::StatusCode;
use serde_json::{Map, Value, json};

use super::Answer;
use super::links::links;
use super::tunnels;
use crate::path::Target;

/// Answers 200 `{link: {self}, account}`: GET /accounts/A.
pub fn account(target: &Target, object: Value) -> Answer {
    found(links(target), Some(("account", object)))
}

/// Answers 200 `{link: {self, account, create-service}, group}`: GET …/groups/G. `target` is a [`Target::Group`].
pub fn group(target: &Target, object: Value) -> Answer {
    found(links(target), Some(("group", object)))
}

/// Answers 200 `{link: {self, group, create-endpoint, create-cluster}, service}`: GET …/services/S. `target` is a
/// [`Target::Service`], and `group` the name of the load balancer's group.
///
/// The object's tunnels are in both forms: `status.gue-tunnel-endpoints` as stored, and the later form under `spec`, which
/// is made of the status if the spec has none (seed C.6 "Tunnels in status or spec").
pub fn service(target: &Target, group: &str, object: Value) -> Answer {
    let mut links = links(target);
    if let Some(account) = target.account() {
        let group = Target::Group { account: account.to_owned(), group: group.to_owned() };
        links.insert("group".into(), group.to_string().into());
    }
    found(links, Some(("service", tunnels::in_both_forms(object))))
}

/// Answers 200 `{link: {self, service}}`: GET …/clusters/C. `target` is a [`Target::Cluster`].
pub fn cluster(target: &Target) -> Answer {
    found(links(target), None)
}

/// Answers 200 `{link: {self, service}, endpoint}`: GET …/endpoints/E. `target` is a [`Target::Endpoint`].
pub fn endpoint(target: &Target, object: Value) -> Answer {
    found(links(target), Some(("endpoint", object)))
}

fn found(links: Map<String, Value>, object: Option<(&str, Value)>) -> Answer {
    let mut body = json!({"link": links});
    if let Some((key, object)) = object {
        body[key] = object;
    }
    Answer::new(StatusCode::OK, body)
}
