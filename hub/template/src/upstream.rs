//! What the server of endpoints must know of a cluster: [`of`].

use prost_reflect::DynamicMessage;

use crate::rendered::Upstream;

/// `Cluster.DiscoveryType.EDS`
const EDS: i32 = 3;

/// Returns what a cluster asks for by EDS.
pub fn of(cluster: &DynamicMessage) -> Upstream {
    let name = text(cluster, "name");
    let ty = cluster.get_field_by_name("type").and_then(|value| value.as_enum_number());
    let config = cluster.get_field_by_name("eds_cluster_config");
    let service = config.and_then(|config| config.as_message().map(|config| text(config, "service_name")));
    let eds_service_name = service.filter(|name| !name.is_empty()).unwrap_or_else(|| name.clone());
    Upstream { name, eds_service_name, is_eds: ty == Some(EDS) }
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
