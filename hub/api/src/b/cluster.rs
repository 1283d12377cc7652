//! Clusters, defined by a Target or inline: [`read`].

use std::net::IpAddr;

use super::field::Field;
use super::form::{BalancerForm, ClusterForm, EndpointForm, Policy, Protocol, Socket, Source};
use super::{pods, socket};
use crate::identifiers::is_dns_subdomain;
use crate::violation::Checks;

/// Reads a cluster: in the deployed spelling its protocol is in `spec`, in the document's it is a block beside the other
/// fields.
pub(super) fn read(field: &Field<'_>, checks: &mut Checks) -> ClusterForm {
    let mut form = ClusterForm::default();
    if field.object(checks).is_none() {
        return form;
    }
    // l7mp takes these, and drops them.
    field.pass_over(&["options", "endpointNum"]);
    form.name = field.get("name").and_then(|name| name.name(checks)).map(str::to_owned);
    let spec = field.get("spec");
    form.socket = match &spec {
        Some(spec) => socket::cluster(spec, false, checks),
        None => socket::cluster(field, true, checks),
    };
    form.service = field.get("serviceName").and_then(|name| name.name(checks)).map(str::to_owned);
    let missing = match &spec {
        Some(spec) => socket::is_missing(spec, false),
        None => socket::is_missing(field, true),
    };
    let neither = missing && form.service.is_none();
    checks.must(
        !neither,
        &field.path,
        "needs a protocol, for example spec: {UDP: {port: 9000}}, or a serviceName",
    );
    let endpoints = field.get("endpoints").map(|all| all.items(checks)).unwrap_or_default();
    let carrier = form
        .socket
        .as_ref()
        .map(|socket| socket.transport.as_ref().map_or(socket.protocol, |under| under.protocol));
    let message = "this protocol has no endpoints: l7mp ends when it gets some";
    let fits = endpoints.is_empty() || carrier.is_none_or(has_endpoints);
    checks.must(fits, format!("{}.endpoints", field.path), message);
    let unix = carrier == Some(Protocol::UnixDomainSocket);
    form.endpoints.extend(endpoints.iter().filter_map(|one| endpoint(one, carrier, checks)));
    // l7mp looks for the path among the endpoints.
    if let Some(path) = form.socket.as_mut().filter(|_| unix).and_then(take_filename) {
        let same = |one: &EndpointForm| matches!(one, EndpointForm::Static { source, .. } if *source == Source::File(path.clone()));
        if !form.endpoints.iter().any(same) {
            form.endpoints.push(EndpointForm::Static {
                name: None,
                source: Source::File(path),
                weight: None,
            });
        }
    }
    let nowhere = unix && endpoints.is_empty() && form.endpoints.is_empty() && form.service.is_none();
    checks.must(!nowhere, &field.path, "a Unix domain socket needs its filename, or an endpoint with it");
    form.balancer = field.get("loadbalancer").and_then(|one| balancer(&one, checks));
    form
}

/// Returns whether clusters of the protocol have endpoints.
fn has_endpoints(protocol: Protocol) -> bool {
    use Protocol::{Http, JsonSocket, Tcp, Udp, UnixDomainSocket, WebSocket};
    matches!(protocol, Udp | Tcp | Http | WebSocket | UnixDomainSocket | JsonSocket)
}

/// Removes the path of a Unix domain socket, or of the one that carries a JSONSocket.
fn take_filename(socket: &mut Socket) -> Option<String> {
    socket.filename.take().or_else(|| socket.transport.as_mut().and_then(|under| under.filename.take()))
}

/// Reads an endpoint. `carrier` is the protocol that reaches it; `None`: that of the cluster's Service.
fn endpoint(field: &Field<'_>, carrier: Option<Protocol>, checks: &mut Checks) -> Option<EndpointForm> {
    field.object(checks)?;
    let name = field.get("name").and_then(|name| name.name(checks)).map(str::to_owned);
    let (spec, selector) = (field.get("spec"), field.get("selector"));
    let one = spec.is_some() != selector.is_some();
    checks.must(one, &field.path, "must have exactly one of spec and selector");
    let unix = carrier == Some(Protocol::UnixDomainSocket);
    if let Some(selector) = selector.filter(|_| one) {
        let message = "no pod has a Unix domain socket: give spec: {filename: /run/app.sock}";
        checks.must(!unix, &selector.path, message);
        return Some(EndpointForm::Selected(pods::read(&selector, checks)));
    }
    let spec = spec.filter(|_| one)?;
    spec.object(checks)?;
    let (beside, within) = (field.get("weight"), spec.get("weight"));
    let weight = beside.or(within).and_then(|one| one.positive(checks));
    let address = spec.either("address", "filename", checks);
    checks.must(address.is_some(), &spec.path, "needs an address, or a filename for a Unix domain socket");
    let address = address?;
    let text = address.name(checks)?;
    let source = match text.parse::<IpAddr>() {
        Ok(ip) => Source::Ip(ip.to_canonical()),
        Err(_) if unix || text.starts_with('/') => Source::File(text.to_owned()),
        Err(_) => Source::Host(text.to_owned()),
    };
    check(&source, carrier, &address.path, checks);
    Some(EndpointForm::Static { name, source, weight })
}

/// Checks an address that l7mp would accept and never reach.
fn check(source: &Source, carrier: Option<Protocol>, path: &str, checks: &mut Checks) {
    match source {
        Source::Ip(ip) => {
            let speaks = ip.is_ipv4() || carrier != Some(Protocol::Udp);
            checks.must(speaks, path, format!("must be IPv4: l7mp has no UDP over IPv6, is {ip}"));
        }
        Source::Host(name) => {
            // Names outside of the API server may have underscores and upper case, and end with a dot.
            let plain = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().replace('_', "0");
            let message = format!(
                "{name:?} is neither an IP address nor a DNS name; the port belongs into the protocol"
            );
            checks.must(is_dns_subdomain(&plain), path, message);
        }
        Source::File(name) => {
            let unix = carrier.is_none_or(|protocol| protocol == Protocol::UnixDomainSocket);
            checks.must(unix, path, format!("{name:?} is a file, which only UnixDomainSocket reaches"));
        }
    }
}

fn balancer(field: &Field<'_>, checks: &mut Checks) -> Option<BalancerForm> {
    field.object(checks)?;
    let policy = match field.get("policy").and_then(|policy| policy.text(checks)) {
        Some("Trivial") => Policy::Trivial,
        Some("ConsistentHash" | "HashRing") => Policy::ConsistentHash,
        other => {
            let message = "must be Trivial, ConsistentHash or HashRing";
            let message =
                other.map_or_else(|| message.to_owned(), |other| format!("{message}, is {other:?}"));
            checks.must(false, format!("{}.policy", field.path), message);
            return None;
        }
    };
    let key = field.get("key").and_then(|key| key.part(checks));
    Some(BalancerForm { policy, key })
}
