//! Completes the configuration of extensions: filters, access logs and transport sockets ([`complete`]; seed C.6 "v2
//! templates").

use serde_json::{Map, Value, json};

use super::problem::{Problem, Refused};

/// The messages that hold an extension's name and configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Network,
    Http,
    Listener,
    AccessLog,
    Socket,
    Retry,
}

/// An extension: its holder, its name in v3, its other names in v2, and the type of its configuration.
struct Extension(Holder, &'static str, &'static [&'static str], &'static str);

const ROUTER: &str = "envoy.filters.http.router";

/// The type that TLS sockets of clusters have. Those of listeners have `DownstreamTlsContext`.
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// The extensions whose type follows from their name.
const EXTENSIONS: [Extension; 38] = {
    use Holder::{AccessLog, Http, Listener, Network, Retry, Socket};
    [
        Extension(Http, ROUTER, &["envoy.router"], "filters.http.router.v3.Router"),
        Extension(Http, "envoy.filters.http.buffer", &["envoy.buffer"], "filters.http.buffer.v3.Buffer"),
        Extension(Http, "envoy.filters.http.compressor", &[], "filters.http.compressor.v3.Compressor"),
        Extension(Http, "envoy.filters.http.cors", &["envoy.cors"], "filters.http.cors.v3.Cors"),
        Extension(Http, "envoy.filters.http.csrf", &["envoy.csrf"], "filters.http.csrf.v3.CsrfPolicy"),
        Extension(Http, "envoy.filters.http.decompressor", &[], "filters.http.decompressor.v3.Decompressor"),
        Extension(
            Http,
            "envoy.filters.http.ext_authz",
            &["envoy.ext_authz"],
            "filters.http.ext_authz.v3.ExtAuthz",
        ),
        Extension(Http, "envoy.filters.http.fault", &["envoy.fault"], "filters.http.fault.v3.HTTPFault"),
        Extension(
            Http,
            "envoy.filters.http.grpc_http1_bridge",
            &["envoy.grpc_http1_bridge"],
            "filters.http.grpc_http1_bridge.v3.Config",
        ),
        Extension(Http, "envoy.filters.http.grpc_stats", &[], "filters.http.grpc_stats.v3.FilterConfig"),
        Extension(
            Http,
            "envoy.filters.http.grpc_web",
            &["envoy.grpc_web"],
            "filters.http.grpc_web.v3.GrpcWeb",
        ),
        Extension(
            Http,
            "envoy.filters.http.header_to_metadata",
            &[],
            "filters.http.header_to_metadata.v3.Config",
        ),
        Extension(
            Http,
            "envoy.filters.http.health_check",
            &["envoy.health_check"],
            "filters.http.health_check.v3.HealthCheck",
        ),
        Extension(
            Http,
            "envoy.filters.http.ip_tagging",
            &["envoy.ip_tagging"],
            "filters.http.ip_tagging.v3.IPTagging",
        ),
        Extension(Http, "envoy.filters.http.jwt_authn", &[], "filters.http.jwt_authn.v3.JwtAuthentication"),
        Extension(Http, "envoy.filters.http.lua", &["envoy.lua"], "filters.http.lua.v3.Lua"),
        Extension(
            Http,
            "envoy.filters.http.ratelimit",
            &["envoy.rate_limit"],
            "filters.http.ratelimit.v3.RateLimit",
        ),
        Extension(Http, "envoy.filters.http.rbac", &[], "filters.http.rbac.v3.RBAC"),
        Extension(
            Network,
            "envoy.filters.network.http_connection_manager",
            &["envoy.http_connection_manager"],
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
        ),
        Extension(Network, "envoy.filters.network.echo", &["envoy.echo"], "filters.network.echo.v3.Echo"),
        Extension(
            Network,
            "envoy.filters.network.ext_authz",
            &["envoy.ext_authz"],
            "filters.network.ext_authz.v3.ExtAuthz",
        ),
        Extension(
            Network,
            "envoy.filters.network.local_ratelimit",
            &[],
            "filters.network.local_ratelimit.v3.LocalRateLimit",
        ),
        Extension(
            Network,
            "envoy.filters.network.ratelimit",
            &["envoy.ratelimit"],
            "filters.network.ratelimit.v3.RateLimit",
        ),
        Extension(Network, "envoy.filters.network.rbac", &[], "filters.network.rbac.v3.RBAC"),
        Extension(
            Network,
            "envoy.filters.network.redis_proxy",
            &["envoy.redis_proxy"],
            "filters.network.redis_proxy.v3.RedisProxy",
        ),
        Extension(
            Network,
            "envoy.filters.network.tcp_proxy",
            &["envoy.tcp_proxy"],
            "filters.network.tcp_proxy.v3.TcpProxy",
        ),
        Extension(
            Listener,
            "envoy.filters.listener.http_inspector",
            &["envoy.listener.http_inspector"],
            "filters.listener.http_inspector.v3.HttpInspector",
        ),
        Extension(
            Listener,
            "envoy.filters.listener.proxy_protocol",
            &["envoy.listener.proxy_protocol"],
            "filters.listener.proxy_protocol.v3.ProxyProtocol",
        ),
        Extension(
            Listener,
            "envoy.filters.listener.tls_inspector",
            &["envoy.listener.tls_inspector"],
            "filters.listener.tls_inspector.v3.TlsInspector",
        ),
        Extension(
            Listener,
            "envoy.filters.udp_listener.udp_proxy",
            &["envoy.filters.udp.udp_proxy"],
            "filters.udp.udp_proxy.v3.UdpProxyConfig",
        ),
        Extension(
            AccessLog,
            "envoy.access_loggers.file",
            &["envoy.file_access_log"],
            "access_loggers.file.v3.FileAccessLog",
        ),
        Extension(
            AccessLog,
            "envoy.access_loggers.http_grpc",
            &["envoy.http_grpc_access_log"],
            "access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        ),
        Extension(
            AccessLog,
            "envoy.access_loggers.tcp_grpc",
            &["envoy.tcp_grpc_access_log"],
            "access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
        ),
        Extension(
            Socket,
            "envoy.transport_sockets.raw_buffer",
            &["raw_buffer"],
            "transport_sockets.raw_buffer.v3.RawBuffer",
        ),
        Extension(
            Socket,
            "envoy.transport_sockets.tls",
            &["tls"],
            "transport_sockets.tls.v3.DownstreamTlsContext",
        ),
        Extension(
            Retry,
            "envoy.retry_host_predicates.previous_hosts",
            &[],
            "retry.host.previous_hosts.v3.PreviousHostsPredicate",
        ),
        Extension(
            Retry,
            "envoy.retry_host_predicates.omit_canary_hosts",
            &[],
            "retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate",
        ),
        Extension(
            Retry,
            "envoy.retry_priorities.previous_priorities",
            &[],
            "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        ),
    ]
};

/// Gives an extension its name and its `typed_config` of API v3. Of templates for v3, only a router may do without one.
///
/// # Errors
/// Returns an error if the extension has no configuration, or one whose type doesn't follow from its name.
pub fn complete(
    message: &str,
    object: &mut Map<String, Value>,
    v2: bool,
    upstream: bool,
) -> Result<(), Refused> {
    let Some(holder) = holder(message) else { return Ok(()) };
    let name = object.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let of_name = |Extension(of, v3, others, _): &&Extension| {
        *of == holder && (*v3 == name || others.contains(&name.as_str()))
    };
    let known = EXTENSIONS.iter().find(of_name);
    if let (true, Some(Extension(_, v3, ..))) = (v2, known) {
        object.insert("name".to_owned(), json!(v3));
    }
    if v2 && let Some(config) = object.remove("config") {
        if object.contains_key("typed_config") {
            return Err(Refused { field: "config", problem: Problem::Both("typed_config") });
        }
        if known.is_none() {
            let reason = format!("the type of {name} is not known here: use typed_config with its @type");
            return Err(Refused::rewrite("config", reason));
        }
        object.insert("typed_config".to_owned(), config);
    }
    if object.contains_key("config_discovery") {
        return Ok(());
    }
    let config = object.entry("typed_config").or_insert_with(|| json!({}));
    let Some(fields) = config.as_object_mut().filter(|fields| !fields.contains_key("@type")) else {
        return Ok(());
    };
    match known {
        Some(Extension(_, v3, _, ty)) if v2 || *v3 == ROUTER => {
            let ty = if *v3 == "envoy.transport_sockets.tls" { tls(upstream) } else { type_url(ty) };
            fields.insert("@type".to_owned(), json!(ty));
            object.insert("name".to_owned(), json!(v3));
            Ok(())
        }
        _ => Err(Refused { field: "", problem: Problem::Bare(name) }),
    }
}

/// Returns a transport socket of API v3 for the `tls_context` of API v2.
pub fn tls_socket(mut context: Value, upstream: bool) -> Value {
    if let Some(context) = context.as_object_mut() {
        context.insert("@type".to_owned(), json!(tls(upstream)));
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

fn type_url(ty: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{ty}")
}

fn tls(upstream: bool) -> String {
    format!("type.googleapis.com/{}", if upstream { UPSTREAM_TLS } else { DOWNSTREAM_TLS })
}

fn holder(message: &str) -> Option<Holder> {
    match message {
        "envoy.config.listener.v3.Filter" => Some(Holder::Network),
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter" => Some(Holder::Http),
        "envoy.config.listener.v3.ListenerFilter" => Some(Holder::Listener),
        "envoy.config.accesslog.v3.AccessLog" => Some(Holder::AccessLog),
        "envoy.config.core.v3.TransportSocket" => Some(Holder::Socket),
        "envoy.config.route.v3.RetryPolicy.RetryHostPredicate"
        | "envoy.config.route.v3.RetryPolicy.RetryPriority" => Some(Holder::Retry),
        _ => None,
    }
}
