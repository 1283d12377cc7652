//! The body that creates a service: [`NewService::parse`].

use std::net::IpAddr;

use portreeve_api::c::load_balancer::{LoadBalancer, LoadBalancerSpec};
use portreeve_api::c::port::ServicePort;
use portreeve_api::c::schema::{MAX_NAME, MAX_PORT_NAME, MAX_PORTS};
use portreeve_api::identifiers::is_dns_subdomain;
use serde_json::json;

use super::bad_request::BadRequest;
use super::body;
use super::field::Field;

/// A load balancer that a client orders: POST …/groups/G/services (seed C.5). The client's ids and status are ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewService {
    /// The name that the client gives it, a DNS name. The object's name is [`service_name`](super::service_name)'s.
    pub name: String,
    /// The ports, all valid. There may be none.
    pub public_ports: Vec<ServicePort>,
    /// The wanted public address. `None`: one of the pool.
    pub public_address: Option<IpAddr>,
    /// The name that customers see, in later versions.
    pub display_name: Option<String>,
}

// === impl NewService ===

impl NewService {
    /// Reads `{service: {metadata: {name}, spec: {public-ports, public-address, display-name}}}`.
    ///
    /// # Errors
    /// Returns the first field that is missing, of another type, too long, or breaks a rule of LoadBalancers.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        let body = body::read(body)?;
        let service = Field::root(&body).child("service")?;
        let name = service.child("metadata")?.child("name")?;
        let text = name.required_text(MAX_NAME)?;
        if !is_dns_subdomain(&text) {
            let rule = "must be a DNS name of lower-case letters, digits, '-' and '.'";
            return Err(name.bad(format!("{rule}, is {text:?}")));
        }
        let spec = service.child("spec")?;
        let ports = spec.child("public-ports")?.items(MAX_PORTS)?;
        let public_ports = ports.iter().map(port).collect::<Result<Vec<_>, _>>()?;
        let address = spec.child("public-address")?.text(MAX_NAME)?;
        let display_name = spec.child("display-name")?.text(MAX_NAME)?;
        let public_address = judge(&text, address, &public_ports)?;
        Ok(Self { name: text, public_ports, public_address, display_name })
    }
}

/// Checks the ports and the address by the rules of the kind. Returns the parsed address.
fn judge(name: &str, address: Option<String>, ports: &[ServicePort]) -> Result<Option<IpAddr>, BadRequest> {
    let spec = LoadBalancerSpec {
        public_address: Some(address.unwrap_or_default()),
        public_ports: Some(ports.to_vec()),
        ..Default::default()
    };
    let form = LoadBalancer::new(name, spec).form();
    form.map(|form| form.public_address).map_err(|broken| BadRequest::of_violations("service", broken))
}

/// Reads a port as in a Kubernetes Service.
fn port(field: &Field<'_>) -> Result<ServicePort, BadRequest> {
    let target = field.child("targetPort")?;
    let target = match target.is_text() {
        true => target.text(MAX_NAME)?.map(|text| json!(text)),
        false => target.integer()?.map(|number| json!(number)),
    };
    let port = json!({"targetPort": target});
    let read = |error: serde_json::Error| field.bad(format!("can't be read: {error}"));
    Ok(ServicePort {
        name: field.child("name")?.text(MAX_PORT_NAME)?,
        protocol: field.child("protocol")?.text(MAX_PORT_NAME)?,
        app_protocol: field.child("appProtocol")?.text(MAX_NAME)?,
        port: field.child("port")?.integer()?,
        node_port: field.child("nodePort")?.integer()?,
        ..serde_json::from_value(port).map_err(read)?
    })
}
