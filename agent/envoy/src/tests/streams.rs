//! Proxies without aggregated discovery.

use envoy_types::pb::envoy::config::core::v3::ConfigSource;
use envoy_types::pb::envoy::config::core::v3::api_config_source::ApiType;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::listener::v3::{Listener, filter};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::google::protobuf::Any;
use portreeve_agent_core::translate::streams::Server;

use super::*;

fn separate(delta: bool) -> Streams {
    Streams::Separate(Server { cluster: "agent".into(), delta })
}

/// Returns how often the bytes refer to the source.
fn count(bytes: &[u8], source: &ConfigSource) -> usize {
    let source = source.encode_to_vec();
    bytes.windows(source.len()).filter(|window| *window == source).count()
}

fn translated(plan: &plan::Plan, streams: &Streams) -> Translation<Envoy> {
    let request = Request {
        plan: &read(plan),
        families: Families::V4,
        streams,
        denied: &BTreeSet::new(),
        running: &BTreeSet::new(),
        defaults: Defaults::default(),
        called: &BTreeMap::new(),
    };
    translate(&request, &access::mk_known()).unwrap()
}

fn bodies(done: &Translation<Envoy>, ty: Envoy) -> Vec<&[u8]> {
    done.outputs.iter().filter(|(of, _)| *of == ty).map(|(_, resource)| resource.body()).collect()
}

#[test]
fn every_reference_of_clusters_and_listeners_is_to_the_proxys_own_source() {
    for plan in [access::mk_http_ingress(), access::mk_http_egress()] {
        let aggregated = translated(&plan, &Streams::Aggregated);
        let ads = config_source::build(&Streams::Aggregated);
        for streams in [separate(false), separate(true)] {
            let (done, own) = (translated(&plan, &streams), config_source::build(&streams));
            let secrets = bodies(&done, Envoy::Secret);
            assert_eq!(secrets, bodies(&aggregated, Envoy::Secret));
            let references = 1 + secrets.len();
            assert_eq!((count_all(&done, &own), count_all(&done, &ads)), (references, 0));
            assert_eq!((count_all(&aggregated, &own), count_all(&aggregated, &ads)), (0, references));
        }
    }
}

/// Returns how often clusters and listeners refer to the source.
fn count_all(done: &Translation<Envoy>, source: &ConfigSource) -> usize {
    let all = [Envoy::Cluster, Envoy::Listener].map(|ty| bodies(done, ty));
    all.iter().flatten().map(|body| count(body, source)).sum()
}

#[test]
fn source_is_of_the_variant_that_the_proxy_uses_and_waits_without_a_limit() {
    for (delta, kind) in [(false, ApiType::Grpc), (true, ApiType::DeltaGrpc)] {
        let source = config_source::build(&separate(delta));
        assert_eq!(source.initial_fetch_timeout, Some(Default::default()));
        let Some(ConfigSourceSpecifier::ApiConfigSource(source)) = source.config_source_specifier else {
            panic!("no source of its own")
        };
        assert_eq!(source.api_type(), kind);
    }
}

/// Envoy checks the cluster of a route when the listener comes, which may be before the cluster on another stream.
#[test]
fn listener_of_http_may_come_before_its_cluster_on_separate_streams_only() {
    for (streams, stated) in [(Streams::Aggregated, None), (separate(false), Some(false))] {
        let done = translated(&access::mk_http_ingress(), &streams);
        let listener = Listener::decode(bodies(&done, Envoy::Listener)[0]).unwrap();
        let Some(filter::ConfigType::TypedConfig(Any { value, .. })) =
            &listener.filter_chains[0].filters.last().unwrap().config_type
        else {
            panic!("no filter")
        };
        let manager = http::HttpConnectionManager::decode(&**value).unwrap();
        let Some(http::http_connection_manager::RouteSpecifier::RouteConfig(routes)) =
            manager.route_specifier
        else {
            panic!("no routes")
        };
        assert_eq!(routes.validate_clusters.map(|one| one.value), stated);
    }
}
