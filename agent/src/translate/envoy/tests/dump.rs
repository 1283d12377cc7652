//! Prints a translation as text: every resource is decoded, including messages nested in an `Any`.

use std::fmt::Debug;
use std::fmt::Write as _;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::{Listener, filter, listener_filter};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3::{Route, UdpProxyConfig};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::on_match::OnMatch;

use super::*;

/// Returns a translation as text, without fields at their defaults.
pub fn text(done: &Translation<EnvoyType>) -> String {
    let mut text = String::new();
    for (ty, resource) in &done.outputs {
        let _ = writeln!(text, "=== {ty:?} {}", resource.name());
        if let Some(companion) = resource.companion() {
            let _ = writeln!(text, "followed by {companion}");
        }
        match ty {
            EnvoyType::Cluster => text += &decoded::<Cluster>(resource.body()),
            EnvoyType::Endpoint => text += &decoded::<ClusterLoadAssignment>(resource.body()),
            EnvoyType::Listener => text += &listener(resource.body()),
            other => panic!("{other:?} is not translated to"),
        }
    }
    for remark in &done.remarks {
        let _ = writeln!(text, "=== remark on {}: {}", remark.at, remark.text);
    }
    text
}

fn listener(body: &[u8]) -> String {
    let mut built = Listener::decode(body).unwrap();
    let mut filters = String::new();
    for one in &mut built.listener_filters {
        let Some(listener_filter::ConfigType::TypedConfig(any)) = one.config_type.take() else {
            panic!("no config")
        };
        filters += &format!("--- listener filter {}\n{}", one.name, udp(&any));
    }
    for one in built.filter_chains.iter_mut().flat_map(|chain| &mut chain.filters) {
        let Some(filter::ConfigType::TypedConfig(any)) = one.config_type.take() else { panic!("no config") };
        assert_eq!(
            any.type_url,
            "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
        );
        filters += &format!("--- filter {}\n{}", one.name, decoded::<TcpProxy>(&any.value));
    }
    lines(&built) + &filters
}

fn udp(any: &Any) -> String {
    assert_eq!(any.type_url, "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig");
    let mut config = UdpProxyConfig::decode(any.value.as_slice()).unwrap();
    use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3::udp_proxy_config::RouteSpecifier;
    let Some(RouteSpecifier::Matcher(matcher)) = config.route_specifier.take() else { panic!("no matcher") };
    let Some(OnMatch::Action(action)) = matcher.on_no_match.and_then(|on| on.on_match) else {
        panic!("no action")
    };
    assert!(matcher.matcher_type.is_none(), "everything goes to one cluster");
    let route = action.typed_config.unwrap();
    assert_eq!(route.type_url, "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route");
    lines(&config) + "--- route\n" + &decoded::<Route>(&route.value)
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
