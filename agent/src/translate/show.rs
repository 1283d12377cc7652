//! A proxy's resources as text for people.

use std::fmt::Debug;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use portreeve_xds::envoy::EnvoyType;
use prost::Message;

/// One resource: its type, its name and what it says, defaults left out. A secret's body is never shown.
pub fn text(ty: EnvoyType, name: &str, body: &[u8]) -> String {
    let shown = match ty {
        EnvoyType::Cluster => debug::<Cluster>(body),
        EnvoyType::Endpoint => debug::<ClusterLoadAssignment>(body),
        EnvoyType::Listener => debug::<Listener>(body),
        EnvoyType::Route => debug::<RouteConfiguration>(body),
        EnvoyType::Secret => "(not shown)".into(),
    };
    format!("{ty:?} {name} {shown}")
}

fn debug<M: Message + Default + Debug>(body: &[u8]) -> String {
    match M::decode(body) {
        Ok(message) => without_defaults(&format!("{message:#?}")),
        Err(error) => format!("(can't be decoded: {error})"),
    }
}

/// Drops the lines of fields that say nothing.
fn without_defaults(text: &str) -> String {
    let empty = [": None,", ": [],", ": \"\",", ": 0,", ": false,", ": {},"];
    let lines = text.lines().filter(|line| !empty.iter().any(|e| line.ends_with(e)));
    lines.collect::<Vec<_>>().join("\n")
}
