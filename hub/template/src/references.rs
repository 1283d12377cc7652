//! The fields by which a resource refers to others, and the fields that an account may not use in a shared Envoy.

/// Fields with names of clusters: the message and the field. They become those of the template's own clusters.
const CLUSTERS: [(&str, &str); 16] = [
    ("envoy.config.core.v3.ApiConfigSource", "cluster_names"),
    ("envoy.config.core.v3.GrpcService.EnvoyGrpc", "cluster_name"),
    ("envoy.config.core.v3.HttpUri", "cluster"),
    ("envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name"),
    ("envoy.config.metrics.v3.StatsdSink", "tcp_cluster_name"),
    ("envoy.config.route.v3.RouteAction", "cluster"),
    ("envoy.config.route.v3.RouteAction.RequestMirrorPolicy", "cluster"),
    ("envoy.config.route.v3.WeightedCluster.ClusterWeight", "name"),
    ("envoy.extensions.filters.http.fault.v3.HTTPFault", "upstream_cluster"),
    ("envoy.extensions.filters.network.redis_proxy.v3.RedisProxy.PrefixRoutes.Route", "cluster"),
    (
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy.PrefixRoutes.Route.ReadCommandPolicy",
        "cluster",
    ),
    (
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy.PrefixRoutes.Route.RequestMirrorPolicy",
        "cluster",
    ),
    ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "cluster"),
    ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight", "name"),
    ("envoy.extensions.filters.udp.udp_proxy.v3.Route", "cluster"),
    ("envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig", "cluster"),
];

const ANY_CLUSTER: &str = "could reach clusters of other accounts";
const OTHER_RESOURCES: &str = "asks for resources that are not in the template";
const SOCKETS: &str = "changes sockets of a node that several accounts use";
const INSIDE: &str = "reaches listeners of other accounts inside of the Envoy";
const SECRETS: &str =
    "asks for a Secret by SDS, which is not served: put certificate and key into inline_string fields";

/// Fields that are refused: the message, the field and the reason. An empty field means the whole message.
const REFUSED: [(&str, &str, &str); 20] = [
    ("envoy.config.cluster.v3.Cluster", "cluster_type", ANY_CLUSTER),
    ("envoy.config.cluster.v3.Cluster", "lrs_server", OTHER_RESOURCES),
    ("envoy.config.cluster.v3.Cluster", "original_dst_lb_config", ANY_CLUSTER),
    ("envoy.config.core.v3.BindConfig", "", SOCKETS),
    ("envoy.config.core.v3.EnvoyInternalAddress", "", INSIDE),
    ("envoy.config.core.v3.SocketAddress", "network_namespace_filepath", SOCKETS),
    ("envoy.config.listener.v3.Listener", "api_listener", INSIDE),
    ("envoy.config.listener.v3.Listener", "fcds_config", OTHER_RESOURCES),
    ("envoy.config.listener.v3.Listener", "internal_listener", INSIDE),
    ("envoy.config.listener.v3.Listener", "socket_options", SOCKETS),
    ("envoy.config.listener.v3.Listener", "transparent", SOCKETS),
    ("envoy.config.listener.v3.Listener", "use_original_dst", INSIDE),
    ("envoy.config.route.v3.RouteAction", "cluster_header", ANY_CLUSTER),
    ("envoy.config.route.v3.RouteAction", "cluster_specifier_plugin", ANY_CLUSTER),
    ("envoy.config.route.v3.RouteAction", "inline_cluster_specifier_plugin", ANY_CLUSTER),
    ("envoy.config.route.v3.RouteAction.RequestMirrorPolicy", "cluster_header", ANY_CLUSTER),
    ("envoy.config.route.v3.RouteConfiguration", "cluster_specifier_plugins", ANY_CLUSTER),
    ("envoy.config.route.v3.WeightedCluster.ClusterWeight", "cluster_header", ANY_CLUSTER),
    ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "on_demand", OTHER_RESOURCES),
    ("envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig", "", SECRETS),
];

/// Returns whether a field holds names of clusters.
pub fn is_cluster(message: &str, field: &str) -> bool {
    CLUSTERS.contains(&(message, field))
}

/// Returns why a field is refused.
pub fn refused(message: &str, field: &str) -> Option<&'static str> {
    let found = REFUSED.iter().find(|(of, one, _)| *of == message && *one == field);
    found.map(|(.., reason)| *reason)
}

/// Returns why a message is refused.
pub fn refused_message(message: &str) -> Option<&'static str> {
    refused(message, "")
}

#[cfg(test)]
mod tests {
    use prost_reflect::Kind;

    use super::*;
    use crate::Descriptors;

    /// Fields with `cluster` in their names that choose none.
    const HARMLESS: [(&str, &str); 3] = [
        ("envoy.config.core.v3.Node", "cluster"),
        ("envoy.data.accesslog.v3.AccessLogCommon", "upstream_cluster"),
        ("envoy.config.route.v3.RouteAction", "cluster_not_found_response_code"),
    ];

    #[test]
    fn every_text_field_about_clusters_is_known_here() {
        let descriptors = Descriptors::built_in().unwrap();
        let mut unknown = Vec::new();
        for message in descriptors.messages() {
            for field in message.fields().filter(|field| field.name().contains("cluster")) {
                let text = match field.kind() {
                    Kind::String => true,
                    Kind::Message(of) => of.full_name() == "google.protobuf.StringValue",
                    _ => false,
                };
                let name = (message.full_name(), field.name());
                let known = is_cluster(name.0, name.1) || refused(name.0, name.1).is_some();
                if text && !known && !HARMLESS.contains(&name) {
                    unknown.push(format!("{}.{}", name.0, name.1));
                }
            }
        }
        assert!(unknown.is_empty(), "{unknown:#?}");
    }

    #[test]
    fn every_field_of_the_tables_exists() {
        let descriptors = Descriptors::built_in().unwrap();
        let exists = |(message, field): (&str, &str)| {
            let message = descriptors.message(message);
            message.is_ok_and(|message| field.is_empty() || message.get_field_by_name(field).is_some())
        };
        let refused = REFUSED.iter().map(|(message, field, _)| (*message, *field));
        let all = CLUSTERS.iter().copied().chain(refused);
        let missing: Vec<_> = all.filter(|one| !exists(*one)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
