//! The names of RemoteEndpoints that the web service creates: [`remote_endpoint_name`].

use serde_json::json;

use super::endpoint_form::EndpointForm;

/// Returns the name of a RemoteEndpoint of the load balancer with this UID: the address with `-` for `.` and `:`, the
/// port, the protocol in lower case and 16 hexadecimal digits, joined by `-` (C19).
///
/// The digits are a hash of the UID and of the endpoint's spec. So the API server refuses a second endpoint with the
/// same spec as one that exists already, however many requests come at once (C.6). An IPv6 address that begins with
/// `:` gets a 0 before it, since a name can't begin with `-`.
pub fn remote_endpoint_name(load_balancer_uid: &str, endpoint: &EndpointForm) -> String {
    let address = endpoint.address.to_string();
    let first = if address.starts_with(':') { "0" } else { "" };
    let address = address.replace(['.', ':'], "-");
    let (port, protocol) = (endpoint.port.port, endpoint.port.transport);
    let digits = digest(load_balancer_uid, endpoint);
    format!("{first}{address}-{port}-{}-{digits:016x}", protocol.lower_case())
}

/// Returns the hash of a UID and a spec. Equal specs have the same text, and different ones different texts.
fn digest(load_balancer_uid: &str, endpoint: &EndpointForm) -> u64 {
    let (address, port) = (endpoint.address, &endpoint.port);
    let node = endpoint.node_address.map(|node| node.to_string());
    let spec = json!([
        load_balancer_uid,
        endpoint.cluster,
        address.to_string(),
        node,
        port.name,
        port.transport.lower_case(),
        port.port.get()
    ]);
    xxhash_rust::xxh3::xxh3_64(spec.to_string().as_bytes())
}
