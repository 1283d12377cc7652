//! Rewrites fields of Envoy's API v2 that v3 doesn't have ([`rewrite`]; seed C.6 "v2 templates"). Fields without a rule here
//! are refused as unknown, unless v3 has them too.

mod cluster;
mod edit;
mod http;
mod listener;
mod matcher;
mod route;

use serde_json::{Map, Value};

use super::problem::Refused;

/// Rewrites the fields of one message, which is named as in v3. Its fields are in snake case.
///
/// # Errors
/// Returns an error if API v3 can't express a field.
pub fn rewrite(message: &str, object: &mut Map<String, Value>) -> Result<(), Refused> {
    edit::versions(message, object);
    match message {
        "envoy.config.cluster.v3.Cluster" => cluster::cluster(object),
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck" => cluster::http_health_check(object),
        "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy" => cluster::policy(object),
        "envoy.config.listener.v3.FilterChain" => listener::filter_chain(object),
        "envoy.config.listener.v3.FilterChainMatch" => edit::rename(object, "sni_domains", "server_names"),
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext" => {
            listener::validation(object)
        }
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" => {
            http::manager(object)
        }
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing" => {
            http::tracing(object)
        }
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz" => http::ext_authz(object),
        "envoy.config.route.v3.RouteMatch" => matcher::path(object),
        "envoy.config.route.v3.HeaderMatcher" => matcher::header(object),
        "envoy.config.route.v3.QueryParameterMatcher" => matcher::query(object),
        "envoy.config.route.v3.VirtualCluster" => matcher::virtual_cluster(object),
        "envoy.type.matcher.v3.StringMatcher" => matcher::text(object),
        "envoy.config.route.v3.RouteAction" => route::action(object),
        "envoy.config.route.v3.WeightedCluster" => route::weighted(object),
        "envoy.config.route.v3.RouteAction.RequestMirrorPolicy" => route::mirror(object),
        "envoy.config.route.v3.CorsPolicy" => route::cors(object),
        "envoy.config.route.v3.VirtualHost"
        | "envoy.config.route.v3.Route"
        | "envoy.config.route.v3.WeightedCluster.ClusterWeight" => route::per_filter(object),
        _ => Ok(()),
    }
}
