//! The names of Envoy's messages in API v2 and v3: [`in_v3`].

/// Messages whose v3 name follows from no rule.
const NAMES: [(&str, &str); 15] = [
    ("envoy.api.v2.Cluster", "envoy.config.cluster.v3.Cluster"),
    ("envoy.api.v2.ClusterLoadAssignment", "envoy.config.endpoint.v3.ClusterLoadAssignment"),
    ("envoy.api.v2.Listener", "envoy.config.listener.v3.Listener"),
    ("envoy.api.v2.RouteConfiguration", "envoy.config.route.v3.RouteConfiguration"),
    ("envoy.config.accesslog.v2.FileAccessLog", "envoy.extensions.access_loggers.file.v3.FileAccessLog"),
    (
        "envoy.config.accesslog.v2.HttpGrpcAccessLogConfig",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
    ),
    (
        "envoy.config.accesslog.v2.TcpGrpcAccessLogConfig",
        "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
    ),
    ("envoy.config.filter.accesslog.v2.AccessLog", "envoy.config.accesslog.v3.AccessLog"),
    (
        "envoy.config.filter.http.rate_limit.v2.RateLimit",
        "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
    ),
    (
        "envoy.config.filter.network.rate_limit.v2.RateLimit",
        "envoy.extensions.filters.network.ratelimit.v3.RateLimit",
    ),
    (
        "envoy.config.filter.http.transcoder.v2.GrpcJsonTranscoder",
        "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
    ),
    (
        "envoy.config.retry.previous_priorities.PreviousPrioritiesConfig",
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    ),
    (
        "envoy.config.retry.omit_canary_hosts.v2.OmitCanaryHostsPredicate",
        "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate",
    ),
    (
        "envoy.config.retry.previous_hosts.v2.PreviousHostsPredicate",
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    ),
    ("envoy.service.discovery.v2.Runtime", "envoy.service.runtime.v3.Runtime"),
];

/// Beginnings of names, and those of v3. The part between a beginning and a message's own name is `*.VERSION.`, or
/// nothing where the beginning has the version.
const BEGINNINGS: [(&str, &str); 11] = [
    ("envoy.api.v2.auth.", "envoy.extensions.transport_sockets.tls.v3."),
    ("envoy.api.v2.cluster.", "envoy.config.cluster.v3."),
    ("envoy.api.v2.core.", "envoy.config.core.v3."),
    ("envoy.api.v2.endpoint.", "envoy.config.endpoint.v3."),
    ("envoy.api.v2.listener.", "envoy.config.listener.v3."),
    ("envoy.api.v2.route.", "envoy.config.route.v3."),
    ("envoy.config.filter.http.", "envoy.extensions.filters.http."),
    ("envoy.config.filter.listener.", "envoy.extensions.filters.listener."),
    ("envoy.config.filter.network.", "envoy.extensions.filters.network."),
    ("envoy.config.filter.udp.", "envoy.extensions.filters.udp."),
    ("envoy.config.transport_socket.", "envoy.extensions.transport_sockets."),
];

const VERSIONS: [&str; 5] = ["v2", "v2alpha", "v2alpha1", "v1alpha1", "v1"];

/// Returns the v3 name of a message of API v2. `None` if the name is none of API v2.
pub fn in_v3(name: &str) -> Option<String> {
    if let Some((_, v3)) = NAMES.iter().find(|(v2, _)| *v2 == name) {
        return Some((*v3).to_owned());
    }
    let versioned = |rest: &str| {
        let v3 = |part| if VERSIONS.contains(&part) { "v3" } else { part };
        rest.split('.').map(v3).collect::<Vec<_>>().join(".")
    };
    if let Some((v2, v3)) = BEGINNINGS.iter().find(|(v2, _)| name.starts_with(v2)) {
        return Some(format!("{v3}{}", versioned(&name[v2.len()..])));
    }
    let renamed = versioned(name);
    (name.starts_with("envoy.") && renamed != name).then_some(renamed)
}
