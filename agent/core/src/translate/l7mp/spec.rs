//! The fields of a listener or cluster that depend on its protocol. Entry point: [`of`].

use std::num::NonZeroU16;

use portreeve_api::model::{Address, Cluster, HeaderField, Protocol, Socket};
use serde_json::{Map, Value, json};

use super::objects::Spec;

/// The setting of a UDP listener's socket that keeps it from connecting to its peer.
pub const MODE: &str = "mode";

/// Returns the port of a cluster, which l7mp has once for all endpoints. `None`: it has none, or its endpoints have
/// different ones.
pub fn port(cluster: &Cluster) -> Option<NonZeroU16> {
    let own = cluster.socket.as_ref().and_then(|socket| socket.port);
    let first = cluster.endpoints.first().and_then(|one| one.port);
    own.or(first.filter(|port| cluster.endpoints.iter().all(|one| one.port == Some(*port))))
}

/// Returns the spec of a cluster; `None` if l7mp doesn't have its protocol.
pub fn of_cluster(cluster: &Cluster) -> Option<Spec> {
    let socket = cluster.socket.as_ref()?;
    match socket.protocol {
        Protocol::Udp | Protocol::Tcp => of(&Socket { port: port(cluster), ..socket.clone() }),
        _ => of(socket),
    }
}

/// Returns the spec of a listener's or cluster's socket; `None` if l7mp doesn't have the protocol.
pub fn of(socket: &Socket) -> Option<Spec> {
    let mut spec = Map::new();
    spec.insert("protocol".into(), socket.protocol.known_name()?.into());
    put(&mut spec, "port", socket.port.map(|port| port.get().into()));
    put(&mut spec, "path", socket.path.as_deref().map(Into::into));
    put(&mut spec, "filename", socket.filename.as_deref().map(Into::into));
    put(&mut spec, "connect", socket.connect.map(address));
    put(&mut spec, "bind", socket.bind.map(address));
    if let Some(transport) = &socket.transport {
        spec.insert("transport".into(), Value::Object(of(transport)?));
    }
    if !socket.header.is_empty() {
        spec.insert("header".into(), socket.header.iter().map(header).collect());
    }
    for (key, value) in &socket.settings {
        match (socket.protocol, key.as_str()) {
            (Protocol::Udp, MODE) => spec.insert("options".into(), json!({MODE: value})),
            _ => spec.insert(key.clone(), value.as_str().into()),
        };
    }
    Some(spec)
}

fn put(spec: &mut Spec, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        spec.insert(key.into(), value);
    }
}

fn address(address: Address) -> Value {
    let mut one = Map::new();
    put(&mut one, "address", address.ip.map(|ip| ip.to_string().into()));
    put(&mut one, "port", address.port.map(|port| port.get().into()));
    Value::Object(one)
}

fn header(field: &HeaderField) -> Value {
    match (&field.key, &field.value) {
        (Some(key), value) => json!({"set": {"key": key, "value": value}}),
        (None, _) => json!({"path": {"from": field.from, "to": field.to}}),
    }
}
