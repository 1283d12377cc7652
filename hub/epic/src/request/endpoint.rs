//! The body that creates an endpoint: [`NewEndpoint::parse`].

use portreeve_api::c::address::is_of_machine;
use portreeve_api::c::endpoint_form::EndpointForm;
use portreeve_api::c::port::EndpointPort;
use portreeve_api::c::remote_endpoint::{RemoteEndpoint, RemoteEndpointSpec};
use portreeve_api::c::schema::{MAX_NAME, MAX_PORT_NAME};

use super::bad_request::BadRequest;
use super::field::Field;
use super::{body, cluster};

/// An endpoint that a client adds to a load balancer: POST …/services/S/endpoints (seed C.5).
#[derive(Clone, Debug, PartialEq)]
pub struct NewEndpoint {
    /// The spec of the RemoteEndpoint, as the client wrote it.
    pub spec: RemoteEndpointSpec,
    /// The parsed spec, from which the object's name is made
    /// ([`remote_endpoint_name`](portreeve_api::c::endpoint_name::remote_endpoint_name)). It names no load balancer yet.
    pub form: EndpointForm,
}

// === impl NewEndpoint ===

impl NewEndpoint {
    /// Reads `{endpoint: {spec: {cluster, address, port, node-address}}}`. Without a node-address there is no tunnel.
    ///
    /// # Errors
    /// Returns the first field that is missing, of another type, too long, or breaks a rule of RemoteEndpoints. An address must
    /// not be one of the gateway's own machine or link, because customers would reach what is not theirs.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        let body = body::read(body)?;
        let spec = Field::root(&body).child("endpoint")?.child("spec")?;
        let spec = RemoteEndpointSpec {
            cluster: Some(cluster::name(&spec.child("cluster")?)?),
            address: spec.child("address")?.text(MAX_NAME)?,
            node_address: spec.child("node-address")?.text(MAX_NAME)?,
            port: port(&spec.child("port")?)?,
        };
        let form = RemoteEndpoint::new("", spec.clone()).form();
        let form = form.map_err(|broken| BadRequest::of_violations("endpoint", broken))?;
        if is_of_machine(form.address) {
            let message = format!("{} is an address of the gateway itself: send that of a pod", form.address);
            return Err(BadRequest::new("endpoint.spec.address", message));
        }
        Ok(Self { spec, form })
    }
}

/// Reads a port as in Kubernetes Endpoints.
fn port(field: &Field<'_>) -> Result<Option<EndpointPort>, BadRequest> {
    if !field.is_given() {
        return Ok(None);
    }
    Ok(Some(EndpointPort {
        name: field.child("name")?.text(MAX_PORT_NAME)?,
        port: field.child("port")?.integer()?,
        protocol: field.child("protocol")?.text(MAX_PORT_NAME)?,
        app_protocol: field.child("appProtocol")?.text(MAX_NAME)?,
    }))
}
