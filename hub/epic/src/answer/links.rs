//! The links of a target: [`links`].

use serde_json::{Map, Value};

use crate::path::Target;

/// Returns the links that follow from a path: `self`, those of the things above it, and those where things below it are
/// created. A service's group isn't in its path.
pub(super) fn links(target: &Target) -> Map<String, Value> {
    let mut links = Map::new();
    let mut add = |name: &str, target: &Target| links.insert(name.to_owned(), target.to_string().into());
    add("self", target);
    match target.clone() {
        Target::Group { account, group } => {
            add("account", &Target::Account { account: account.clone() });
            add("create-service", &Target::Services { account, group });
        }
        Target::Service { account, service } => {
            add("create-endpoint", &Target::Endpoints { account: account.clone(), service: service.clone() });
            add("create-cluster", &Target::Clusters { account, service });
        }
        Target::Cluster { account, service, .. } | Target::Endpoint { account, service, .. } => {
            add("service", &Target::Service { account, service });
        }
        Target::Account { .. }
        | Target::Services { .. }
        | Target::Clusters { .. }
        | Target::Endpoints { .. }
        | Target::Health => {}
    }
    links
}
