//! Prints a translation as text: every resource is decoded, including messages nested in an `Any`.

use std::fmt::Debug;
use std::fmt::Write as _;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{DataSource, TransportSocket, data_source, transport_socket};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::{Listener, filter, listener_filter};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3::{Route, UdpProxyConfig};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    DownstreamTlsContext, Secret, UpstreamTlsContext, secret,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::google::protobuf::{Any, StringValue};
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::MatcherType;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_tree::TreeType;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::on_match::OnMatch;

use super::*;
use crate::peers::IpMatcher;

/// Returns a translation as text, without fields at their defaults.
pub fn text(done: &Translation<Envoy>) -> String {
    let mut text = String::new();
    for (ty, resource) in &done.outputs {
        let _ = writeln!(text, "=== {ty:?} {}", resource.name());
        if let Some(companion) = resource.companion() {
            let _ = writeln!(text, "followed by {companion}");
        }
        match ty {
            Envoy::Cluster => text += &cluster(resource.body()),
            Envoy::Endpoint => text += &decoded::<ClusterLoadAssignment>(resource.body()),
            Envoy::Listener => text += &listener(resource.body()),
            Envoy::Secret => text += &secret(resource.body()),
            Envoy::Route => panic!("routes are inline"),
        }
    }
    for remark in &done.remarks {
        let _ = writeln!(text, "=== remark on {}: {}", remark.at, remark.text);
    }
    text
}

fn cluster(body: &[u8]) -> String {
    let mut built = Cluster::decode(body).unwrap();
    let mut more = String::new();
    for (name, options) in std::mem::take(&mut built.typed_extension_protocol_options) {
        more += &format!("--- options {name}\n{}", decoded::<HttpProtocolOptions>(&options.value));
    }
    if let Some(socket) = built.transport_socket.take() {
        let name = socket.name.clone();
        more += &format!("--- {name}\n{}", decoded::<UpstreamTlsContext>(&config(socket).value));
    }
    lines(&built) + &more
}

fn config(socket: TransportSocket) -> Any {
    let Some(transport_socket::ConfigType::TypedConfig(any)) = socket.config_type else {
        panic!("no config")
    };
    any
}

fn secret(body: &[u8]) -> String {
    let built = Secret::decode(body).unwrap();
    let text = |source: Option<DataSource>| match source.and_then(|source| source.specifier) {
        Some(data_source::Specifier::InlineBytes(pem)) => String::from_utf8(pem).unwrap(),
        other => panic!("{other:?} is not inline"),
    };
    match built.r#type.unwrap() {
        secret::Type::TlsCertificate(pair) => {
            format!("certificate {}, key {}\n", text(pair.certificate_chain), text(pair.private_key))
        }
        secret::Type::ValidationContext(mut validation) => {
            format!("authority {}\n{}", text(validation.trusted_ca.take()), lines(&validation))
        }
        other => panic!("{other:?} is not sent"),
    }
}

fn listener(body: &[u8]) -> String {
    let mut built = Listener::decode(body).unwrap();
    let mut parts = String::new();
    if let Some(chooser) = built.filter_chain_matcher.take() {
        parts += &format!("--- filter chain matcher\n{}", by_address(chooser));
    }
    for one in &mut built.listener_filters {
        let Some(listener_filter::ConfigType::TypedConfig(any)) = one.config_type.take() else {
            panic!("no config")
        };
        parts += &format!("--- listener filter {}\n{}", one.name, udp(&any));
    }
    for chain in &mut built.filter_chains {
        if let Some(socket) = chain.transport_socket.take() {
            let name = socket.name.clone();
            parts += &format!("--- {name}\n{}", decoded::<DownstreamTlsContext>(&config(socket).value));
        }
        for one in &mut chain.filters {
            let Some(filter::ConfigType::TypedConfig(any)) = one.config_type.take() else {
                panic!("no config")
            };
            parts += &format!("--- filter {}\n{}", one.name, network(&any));
        }
    }
    lines(&built) + &parts
}

fn by_address(chooser: Matcher) -> String {
    if matches!(chooser.matcher_type, Some(MatcherType::MatcherList(_))) {
        let name = |chain: &Any| StringValue::decode(chain.value.as_slice()).unwrap().value;
        return conditions(chooser, |chain| format!("--- to chain {}\n", name(chain)));
    }
    let Some(MatcherType::MatcherTree(tree)) = chooser.matcher_type else { panic!("no tree") };
    let input = tree.input.and_then(|input| input.typed_config).unwrap();
    let Some(TreeType::CustomMatch(custom)) = tree.tree_type else { panic!("no custom matcher") };
    let config = custom.typed_config.unwrap();
    assert_eq!(config.type_url, "type.googleapis.com/xds.type.matcher.v3.IPMatcher");
    let mut ranges = String::new();
    for one in IpMatcher::decode(config.value.as_slice()).unwrap().range_matchers {
        let Some(OnMatch::Action(action)) = one.on_match.and_then(|on| on.on_match) else {
            panic!("no action")
        };
        let chain = StringValue::decode(action.typed_config.unwrap().value.as_slice()).unwrap();
        for range in one.ranges {
            let bits = range.prefix_len.unwrap().value;
            ranges += &format!("{}/{bits} to chain {}\n", range.address_prefix, chain.value);
        }
    }
    format!("by {}\n{ranges}", input.type_url)
}

fn network(config: &Any) -> String {
    match config.type_url.rsplit('.').next() {
        Some("TcpProxy") => decoded::<TcpProxy>(&config.value),
        Some("HttpConnectionManager") => decoded::<HttpConnectionManager>(&config.value),
        Some("RBAC") => decoded::<Rbac>(&config.value),
        _ => panic!("{}", config.type_url),
    }
}

fn udp(any: &Any) -> String {
    assert_eq!(any.type_url, "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig");
    let mut config = UdpProxyConfig::decode(any.value.as_slice()).unwrap();
    use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3::udp_proxy_config::RouteSpecifier;
    let Some(RouteSpecifier::Matcher(matcher)) = config.route_specifier.take() else { panic!("no matcher") };
    let route = |route: &Any| {
        assert_eq!(route.type_url, "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route");
        "--- route\n".to_owned() + &decoded::<Route>(&route.value)
    };
    lines(&config) + &conditions(matcher, route)
}

/// Returns the conditions of a matcher, each with the text of its action.
fn conditions(matcher: Matcher, action: impl Fn(&Any) -> String) -> String {
    let told = |on: Option<OnMatch>| {
        let Some(OnMatch::Action(one)) = on else { panic!("no action") };
        action(&one.typed_config.unwrap())
    };
    let mut text = String::new();
    match matcher.matcher_type {
        Some(MatcherType::MatcherList(list)) => {
            for one in list.matchers {
                text += &format!("--- if {}", lines(&one.predicate.unwrap().match_type.unwrap()));
                text += &told(one.on_match.and_then(|on| on.on_match));
            }
        }
        Some(MatcherType::MatcherTree(_)) => panic!("a tree"),
        None => {}
    }
    text + &matcher.on_no_match.map(|on| told(on.on_match)).unwrap_or_default()
}

fn decoded<M: Message + Default + Debug>(body: &[u8]) -> String {
    lines(&M::decode(body).unwrap())
}

/// Returns debug text without empty fields.
fn lines(message: &impl Debug) -> String {
    const SILENT: [&str; 6] = [": None,", ": [],", ": \"\",", ": 0,", ": false,", ": {},"];
    let text = format!("{message:#?}\n");
    let said = text.lines().filter(|line| !SILENT.iter().any(|end| line.ends_with(end)));
    said.fold(String::new(), |all, line| all + line + "\n")
}
