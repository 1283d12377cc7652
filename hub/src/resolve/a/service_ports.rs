//! Endpoints of a VirtualService that name a Service get the ports of its pods. Entry point: [`route`].

use portreeve_api::a::virtual_service::{Cluster, Endpoint, Listener, VirtualService};

use crate::services::{Names, Services, Target, Wanted};

/// Leads an object's endpoints, see [`Services::lead`]. Returns what leads nowhere, each with its field.
pub(super) fn route(services: &Services<'_>, object: &mut VirtualService, names: &mut Names) -> Vec<String> {
    let namespace = object.metadata.namespace.clone().unwrap_or_else(|| "default".into());
    let mut problems = Vec::new();
    for (i, listener) in object.spec.listeners.iter_mut().enumerate() {
        let Some((protocol, cluster)) = cluster_of(listener) else { continue };
        let field = format!("spec.listeners[{i}].{}.cluster.endpoints", protocol.to_ascii_lowercase());
        let mut endpoints = Vec::new();
        for (k, endpoint) in cluster.endpoints.drain(..).enumerate() {
            let host = endpoint.host.address.clone().unwrap_or_default();
            let (port, health_port) = (endpoint.port, endpoint.health_check_port);
            let wanted = Wanted { namespace: &namespace, host: &host, port, health_port, protocol };
            let (targets, wrong) = services.lead(&wanted, names);
            problems.extend(wrong.into_iter().map(|wrong| format!("{field}[{k}].{wrong}")));
            match targets {
                Some(targets) => endpoints.extend(targets.into_iter().map(|target| at(&endpoint, target))),
                None => endpoints.push(endpoint),
            }
        }
        cluster.endpoints = endpoints;
    }
    problems
}

fn cluster_of(listener: &mut Listener) -> Option<(&'static str, &mut Cluster)> {
    match (&mut listener.udp, &mut listener.tcp) {
        (Some(udp), _) => Some(("UDP", &mut udp.cluster)),
        (None, Some(tcp)) => Some(("TCP", tcp.cluster.as_mut()?)),
        (None, None) => None,
    }
}

/// The endpoint with another host name and other ports.
fn at(endpoint: &Endpoint, target: Target) -> Endpoint {
    let Target { host, port, health_port } = target;
    let mut endpoint = Endpoint { port, health_check_port: health_port, ..endpoint.clone() };
    endpoint.host.address = Some(host);
    endpoint
}

#[cfg(test)]
mod tests;
