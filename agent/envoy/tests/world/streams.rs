//! How proxies subscribe: by one aggregated stream, or by a stream for each type, cluster and secret.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::grpc_service::TargetSpecifier;
use portreeve_agent_core::translate::streams::Server;

use super::*;

fn mk_rig() -> Rig {
    let mut rig = Rig { world: World::new(registry::fleets(), Families::V4) };
    rig.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.9")));
    rig.world.apply_pod(mk_pod("p", "gw"));
    rig
}

fn separate(cluster: &str) -> Announced {
    let server = Server { cluster: cluster.into(), delta: false };
    Announced::new("p", Streams::Separate(server))
}

/// Returns the only cluster of the pod `p`, whose process announces this.
fn cluster(rig: &mut Rig, announced: &Announced) -> Arc<Resource> {
    let view = rig.world.open::<Envoy>(&pod_id("p"), announced).unwrap();
    view.snapshot(|s| s.iter(Envoy::Cluster).next().unwrap().1.clone())
}

/// Returns the name by which a cluster refers to the agent; `None` for the aggregated stream.
fn refers_to(cluster: &Resource) -> Option<String> {
    let source = Cluster::decode(cluster.body()).unwrap().eds_cluster_config.unwrap().eds_config.unwrap();
    match source.config_source_specifier.unwrap() {
        ConfigSourceSpecifier::Ads(_) => None,
        ConfigSourceSpecifier::ApiConfigSource(source) => match &source.grpc_services[0].target_specifier {
            Some(TargetSpecifier::EnvoyGrpc(service)) => Some(service.cluster_name.clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn cluster_refers_to_the_agent_by_the_name_that_the_proxy_has_for_it() {
    let mut rig = mk_rig();
    for (announced, name) in [
        (Announced::default(), None),
        (separate("xds_cluster"), Some("xds_cluster".to_owned())),
        (separate("agent"), Some("agent".to_owned())),
        (separate(&"x".repeat(254)), None),
    ] {
        assert_eq!(refers_to(&cluster(&mut rig, &announced)), name);
    }
}

#[test]
fn later_streams_of_a_connected_proxy_change_nothing() {
    let mut rig = mk_rig();
    let first = cluster(&mut rig, &separate("xds_cluster"));
    rig.world.welcome::<Envoy>(1, &pod_id("p"), separate("xds_cluster"));
    assert_eq!(cluster(&mut rig, &Announced::default()).version(), first.version());
    rig.world.part::<Envoy>(1, Instant::now());
    assert_eq!(refers_to(&cluster(&mut rig, &Announced::default())), None);
}

#[test]
fn agent_that_starts_again_serves_the_bytes_that_a_proxy_with_separate_streams_has() {
    let mut rig = mk_rig();
    let accepted = cluster(&mut rig, &separate("xds_cluster"));
    let resources = vec![(accepted.name().clone(), accepted.version())];
    rig.world.accepted(&pod_id("p"), Envoy::Cluster, &resources.into());
    let mut again = Rig { world: World::new(registry::fleets(), Families::V4) };
    for (owner, all) in rig.world.take_unsaved() {
        assert!(again.world.restore_accepted(owner, &all));
    }
    again.put_plan(&mk_plan("call", 1, 2000, ip("10.0.0.9")));
    again.world.apply_pod(mk_pod("p", "gw"));
    assert_eq!(cluster(&mut again, &separate("xds_cluster")).version(), accepted.version());
}
