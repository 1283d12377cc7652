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
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use portreeve_agent_core::translate::Streams;
use prost::Message;

use super::hash::Hash;
use super::retries::Retries;
use super::target::{Layer, Target};
use super::wire::{any, duration, u32_value};

/// The message that [`manager`] puts into its filter.
pub const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// The value of the header `upgrade` in a request for a WebSocket.
const WEBSOCKET: &str = "websocket";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Builds the filter that forwards every request to one cluster, or only those for a WebSocket. It connects to an endpoint
/// only for a request. A request has no time limit; a stream without any frame ends after the idle timeout.
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
        upgrade_configs: match to.layer {
            Layer::WebSocket => vec![http::http_connection_manager::UpgradeConfig {
                upgrade_type: WEBSOCKET.into(),
                ..Default::default()
            }],
            Layer::Bytes | Layer::Http => Vec::new(),
        },
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
        hash_policy: hash_policy(to.hash).into_iter().collect(),
        retry_policy: to.retries.map(retry_policy),
        ..Default::default()
    };
    let everything = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
        headers: if to.layer == Layer::WebSocket { vec![asks_for_websocket()] } else { Vec::new() },
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
        // On separate streams a listener may come before its cluster, and the cluster of another object at any time. Envoy
        // would reject the listener.
        validate_clusters: (to.may_dangle || *to.streams != Streams::Aggregated)
            .then_some(BoolValue { value: false }),
        ..Default::default()
    }
}

/// Returns the matcher of a request's header that asks for a WebSocket.
fn asks_for_websocket() -> route::HeaderMatcher {
    let exact = string_matcher::MatchPattern::Exact(WEBSOCKET.into());
    let value = StringMatcher { match_pattern: Some(exact), ignore_case: true };
    route::HeaderMatcher {
        name: "upgrade".into(),
        header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(value)),
        ..Default::default()
    }
}

fn hash_policy(hash: &Hash) -> Option<HashPolicy> {
    let policy_specifier = match hash {
        Hash::Source => {
            let source = hash_policy::ConnectionProperties { source_ip: true };
            hash_policy::PolicySpecifier::ConnectionProperties(source)
        }
        Hash::Header(name) => hash_policy::PolicySpecifier::Header(hash_policy::Header {
            header_name: name.clone(),
            ..Default::default()
        }),
        // No listener that reads HTTP hashes constants.
        Hash::None | Hash::Constant(_) => return None,
    };
    Some(HashPolicy { policy_specifier: Some(policy_specifier), ..Default::default() })
}

fn retry_policy(retries: Retries) -> route::RetryPolicy {
    let pause = duration(retries.timeout);
    route::RetryPolicy {
        retry_on: "connect-failure".into(),
        num_retries: u32_value(retries.number),
        retry_back_off: Some(route::retry_policy::RetryBackOff { base_interval: pause, max_interval: pause }),
        ..Default::default()
    }
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
