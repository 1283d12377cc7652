//! HTTP: the filter that reads it from clients ([`manager`]), and the protocol spoken to endpoints ([`upstream`]).

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3::{Filter, filter};
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::config::route::v3::route_action::{HashPolicy, hash_policy};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options as options;
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use portreeve_agent_core::translate::Streams;
use prost::Message;

use super::target::Target;
use super::wire::{any, duration};

/// The message that [`manager`] puts into its filter.
pub const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Builds the filter that forwards every request to one cluster. It connects to an endpoint only for a request. A request
/// has no time limit; a stream without any frame ends after the idle timeout.
pub fn manager(to: &Target<'_>) -> Filter {
    let config = http::HttpConnectionManager {
        stat_prefix: to.listener.into(),
        stream_idle_timeout: duration(to.idle),
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: duration(to.idle),
            ..Default::default()
        }),
        http_filters: vec![http::HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(http::http_filter::ConfigType::TypedConfig(any(ROUTER, &Router::default()))),
            ..Default::default()
        }],
        route_specifier: Some(http::http_connection_manager::RouteSpecifier::RouteConfig(routes(to))),
        ..Default::default()
    };
    Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(any(MANAGER, &config))),
    }
}

/// Returns the cluster of a filter that [`manager`] built.
pub fn target(config: &[u8]) -> Option<String> {
    use http::http_connection_manager::RouteSpecifier::RouteConfig;
    let RouteConfig(routes) = http::HttpConnectionManager::decode(config).ok()?.route_specifier? else {
        return None;
    };
    let route::route::Action::Route(action) = routes.virtual_hosts.first()?.routes.first()?.action.clone()?
    else {
        return None;
    };
    match action.cluster_specifier? {
        route::route_action::ClusterSpecifier::Cluster(name) => Some(name),
        _ => None,
    }
}

fn routes(to: &Target<'_>) -> route::RouteConfiguration {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(to.cluster.into())),
        // Envoy's default of 15 s would end gRPC streams.
        timeout: duration(Duration::ZERO),
        hash_policy: if to.by_source() { vec![by_source()] } else { Vec::new() },
        ..Default::default()
    };
    let everything = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
        ..Default::default()
    };
    let route = route::Route {
        r#match: Some(everything),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    };
    let host = route::VirtualHost {
        name: to.cluster.into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..Default::default()
    };
    route::RouteConfiguration {
        name: to.listener.into(),
        virtual_hosts: vec![host],
        // On separate streams a listener may come before its cluster. Envoy would reject it.
        validate_clusters: (*to.streams != Streams::Aggregated).then_some(BoolValue { value: false }),
        ..Default::default()
    }
}

fn by_source() -> HashPolicy {
    let source = hash_policy::ConnectionProperties { source_ip: true };
    let policy_specifier = Some(hash_policy::PolicySpecifier::ConnectionProperties(source));
    HashPolicy { policy_specifier, ..Default::default() }
}

/// Returns the options of a cluster to whose endpoints HTTP/2 is spoken.
pub fn upstream() -> HashMap<String, Any> {
    let http2 = options::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(
        core::Http2ProtocolOptions::default(),
    );
    let explicit = options::ExplicitHttpConfig { protocol_config: Some(http2) };
    let options = upstream::HttpProtocolOptions {
        upstream_protocol_options: Some(options::UpstreamProtocolOptions::ExplicitHttpConfig(explicit)),
        ..Default::default()
    };
    HashMap::from([(PROTOCOL_OPTIONS.to_owned(), any(PROTOCOL_OPTIONS, &options))])
}
