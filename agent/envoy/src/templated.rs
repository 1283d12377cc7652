//! Listeners that a template made: [`listener`].

use std::time::Duration;

use portreeve_api::model::{Listener, Plan};

use super::listener::{self, Built};
use super::unbuilt::Unbuilt;
use super::{routes, support};
use portreeve_agent_core::translate::request::qualified;

/// Returns a listener as its template made it. It may lead to every cluster of the template.
///
/// # Errors
/// Returns a message about a setting beside the template that is not supported.
pub fn listener(plan: &Plan, listener: &Listener, body: &[u8]) -> Result<Built, Unbuilt> {
    if let Some(text) = support::listener(plan, listener).told("the listener", routes::PROXY) {
        return Err(text.into());
    }
    let resource = listener::of_bytes(qualified(plan, &listener.name), body);
    Ok(Built { resource, secrets: Vec::new(), clusters: clusters(plan).collect() })
}

/// Returns the names in the Plan of the clusters that its template made, without timeouts.
pub fn clusters(plan: &Plan) -> impl Iterator<Item = (String, Option<Duration>)> {
    let of_template = plan.clusters.iter().filter(|cluster| plan.envoy_cluster(&cluster.name).is_some());
    of_template.map(|cluster| (cluster.name.clone(), None))
}
