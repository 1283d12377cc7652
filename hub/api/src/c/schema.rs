//! Limits of fields, and schemas and rules that a Rust type can't describe: addresses, ids that don't change once they are
//! set, and objects without `spec`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::core::cel::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Maximum number of ports of a load balancer.
pub const MAX_PORTS: usize = 1024;

/// Maximum number of tunnels whose other ends a load balancer lists.
pub const MAX_PEERS: usize = 4096;
/// Maximum number of upstream clusters of a load balancer.
pub const MAX_CLUSTERS: usize = 1024;
/// Maximum length of an upstream cluster's name, in characters.
pub const MAX_CLUSTER: usize = 1024;
/// Maximum length of the name of an object or a node, in characters.
pub const MAX_NAME: usize = 253;
/// Maximum length of a port's name, in characters.
pub const MAX_PORT_NAME: usize = 63;
/// Maximum length of an image's name, in characters.
pub const MAX_IMAGE: usize = 1024;
/// Maximum length of the name of a network interface, in characters. It is the kernel's.
pub const MAX_INTERFACE: usize = 15;
/// Maximum number of network interfaces in a list.
pub const MAX_INTERFACES: usize = 64;
/// Maximum number of addresses that load balancers are about to get.
pub const MAX_RESERVED: usize = 1024;

/// The largest id of an account or a service, on the wire a u16 (C.4).
pub const MAX_ID: i32 = 65_535;
/// The largest id of a tunnel, on the wire a u32 (C.4).
pub const MAX_TUNNEL_ID: i64 = 4_294_967_295;

/// An IPv4 or IPv6 address.
pub(super) fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})
}

/// An IPv4 or IPv6 address, or the empty text for none.
pub(super) fn address_or_empty(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}, {"maxLength": 0}]})
}

/// An IPv4 or IPv6 subnet, for example `192.168.77.0/24`.
pub(super) fn subnet(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "cidr"})
}

/// A number or a name, as in the ports of a Kubernetes Service.
pub(super) fn number_or_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true})
}

/// Returns the rule that a number doesn't change once it is neither absent nor 0 (C7).
pub(super) fn kept_number(field: &str) -> Rule {
    kept(field, "0")
}

/// Returns the rule that a text doesn't change once it is neither absent nor empty (C7).
pub(super) fn kept_text(field: &str) -> Rule {
    kept(field, "''")
}

fn kept(field: &str, unset: &str) -> Rule {
    let name = field.replace('-', "__dash__");
    let (old, new) = (format!("oldSelf.{name}"), format!("self.{name}"));
    Rule::new(format!("!has({old}) || {old} == {unset} || (has({new}) && {new} == {old})"))
        .message(format!("{field} can't change once it is set").as_str())
        .field_path(format!(".{field}"))
}

/// Makes `spec` optional: the API server stores an empty one. Objects of E1 may lack it, since every field of it has a
/// default.
pub(super) fn default_spec(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        if let Some(spec) = schema.properties.iter_mut().flatten().find(|(name, _)| *name == "spec") {
            spec.1.default = Some(JSON(json!({})));
        }
    }
    crd
}

/// Gives an object the empty `spec` that the API server would, see [`default_spec`].
pub(super) fn with_spec(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        let spec = fields.entry("spec").or_insert(Value::Null);
        if spec.is_null() {
            *spec = json!({});
        }
    }
    object
}
