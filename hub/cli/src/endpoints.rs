//! The endpoints that a proxy was sent, for each kind of proxy ([`Shown`]).

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{HealthStatus, address, socket_address};
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, lb_endpoint};
use portreeve_agent_core::fleet::Proxy;
use portreeve_agent_core::translate::ProxyModel;
use portreeve_agent_core::translate::l7mp::{L7mp, objects};
use portreeve_envoy::Envoy;
use portreeve_xds::Resource;
use prost::Message;

/// A kind of proxy in the table.
pub trait Shown: ProxyModel {
    /// Whether every datagram from this host to a UDP listener is forwarded, so that `--check` can send some.
    const CHECKED: bool;

    /// Returns the endpoints of a listener's cluster, as sent to the proxy, that new sessions may use. `listener` and
    /// `cluster` are names of resources.
    fn endpoints(proxy: &Proxy<Self>, listener: &str, cluster: &str) -> Vec<String>;
}

impl Shown for Envoy {
    const CHECKED: bool = true;

    fn endpoints(proxy: &Proxy<Self>, _listener: &str, cluster: &str) -> Vec<String> {
        let decode = |one: &Arc<Resource>| ClusterLoadAssignment::decode(one.body());
        let assignment = proxy.view.snapshot(|s| s.get(Self::Endpoint, cluster).map(decode));
        let Some(Ok(assignment)) = assignment else { return Vec::new() };
        let all = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
        let unused = [HealthStatus::Degraded, HealthStatus::Unhealthy];
        let usable = all.filter(|e| !unused.contains(&e.health_status()));
        usable.filter_map(|e| e.host_identifier.as_ref()).filter_map(address_of).collect()
    }
}

impl Shown for L7mp {
    /// A rule may refuse a datagram, a listener may be connected to one peer, and the cluster may have no endpoints.
    const CHECKED: bool = false;

    /// The cluster is read from the listener, because it may belong to another Plan.
    fn endpoints(proxy: &Proxy<Self>, listener: &str, _cluster: &str) -> Vec<String> {
        let endpoints = proxy.view.snapshot(|s| {
            let cluster = Self::target(s.get(Self::Listener, listener)?.body())?;
            let body = s.get(Self::Endpoints, &cluster)?.body();
            serde_json::from_slice::<objects::Endpoints>(body).ok()
        });
        let endpoints = endpoints.unwrap_or_default().endpoints;
        endpoints.into_iter().map(|endpoint| endpoint.address).collect()
    }
}

fn address_of(host: &lb_endpoint::HostIdentifier) -> Option<String> {
    let lb_endpoint::HostIdentifier::Endpoint(endpoint) = host else { return None };
    let address::Address::SocketAddress(socket) = endpoint.address.as_ref()?.address.as_ref()? else {
        return None;
    };
    let socket_address::PortSpecifier::PortValue(port) = socket.port_specifier.as_ref()? else { return None };
    let colons = socket.address.contains(':');
    Some(if colons { format!("[{}]:{port}", socket.address) } else { format!("{}:{port}", socket.address) })
}
