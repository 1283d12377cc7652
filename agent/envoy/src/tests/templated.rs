//! Listeners and clusters that a template made are sent as they are, with the endpoints of those that ask for them.

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use portreeve_api::plan::envoy_resource::Body;

use super::*;

fn resource(name: &str, body: Body) -> plan::EnvoyResource {
    plan::EnvoyResource { name: name.into(), body: Some(body) }
}

fn mk_cluster(name: &str, ty: cluster::cluster::DiscoveryType) -> Vec<u8> {
    let ty = cluster::cluster::ClusterDiscoveryType::Type(ty.into());
    let name = format!("A/ns/call/{name}");
    cluster::Cluster { name, cluster_discovery_type: Some(ty), ..Default::default() }.encode_to_vec()
}

/// A Plan with a listener of a template, and clusters `eds`, `listed` (whose endpoints the template lists) and `static`.
fn mk_templated() -> plan::Plan {
    use cluster::cluster::DiscoveryType::{Eds, Static};
    let mut plan = mk_udp(Policy::RoundRobin(true), vec![(From::Ip("192.0.2.1".into()), 9)]);
    plan.listeners[0].rules.clear();
    let one = plan.clusters.remove(0);
    let name = "A/ns/call/rtp-l".to_owned();
    let listener = listener::Listener { name, stat_prefix: "made".into(), ..Default::default() };
    plan.envoy.push(resource("rtp-l", Body::Listener(listener.encode_to_vec().into())));
    for (name, ty) in [("eds", Eds), ("listed", Eds), ("static", Static)] {
        plan.clusters.push(plan::Cluster { name: name.into(), ..one.clone() });
        plan.envoy.push(resource(name, Body::Cluster(mk_cluster(name, ty).into())));
    }
    let listed = endpoint::ClusterLoadAssignment {
        cluster_name: "A/ns/call/listed".into(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoint::LbEndpoint::default(); 2],
            ..Default::default()
        }],
        ..Default::default()
    };
    plan.envoy.push(resource("listed", Body::Assignment(listed.encode_to_vec().into())));
    plan
}

fn body(done: &Translation<Envoy>, ty: Envoy, name: &str) -> Option<Vec<u8>> {
    let name = format!("A/ns/call/{name}");
    let found = done.outputs.iter().find(|(of, resource)| *of == ty && **resource.name() == *name);
    found.map(|(_, resource)| resource.body().to_vec())
}

#[test]
fn what_a_template_made_is_sent_as_it_is() {
    let plan = mk_templated();
    let done = run(&plan, Families::V4, &Fixture::default());
    assert!(done.remarks.is_empty(), "{:?}", done.remarks);
    let made = |name: &str, at: usize| match plan.envoy.iter().filter(|one| one.name == name).nth(at) {
        Some(plan::EnvoyResource {
            body: Some(Body::Listener(b) | Body::Cluster(b) | Body::Assignment(b)),
            ..
        }) => Some(b.to_vec()),
        _ => None,
    };
    assert_eq!(body(&done, Envoy::Listener, "rtp-l"), made("rtp-l", 0));
    for name in ["eds", "listed", "static"] {
        assert_eq!(body(&done, Envoy::Cluster, name), made(name, 0), "{name}");
    }
    assert_eq!(body(&done, Envoy::Endpoint, "listed"), made("listed", 1));
    assert_eq!(shown(&done, "eds"), ["0 192.0.2.1:9"]);
    assert_eq!(body(&done, Envoy::Endpoint, "static"), None, "Envoy would never ask for it");
    assert_eq!((done.census.endpoints, done.outputs.len()), (4, 6));
}

#[test]
fn clusters_are_not_sent_without_a_listener_of_their_template() {
    let plan = mk_templated();
    let denied = BTreeSet::from(["rtp-l".to_owned()]);
    let request = Request {
        plan: &read(&plan),
        families: Families::V4,
        streams: &Streams::Aggregated,
        denied: &denied,
        running: &BTreeSet::new(),
        defaults: Defaults::default(),
        called: &BTreeMap::new(),
    };
    assert!(translate(&request, &Fixture::default()).unwrap().outputs.is_empty());
}

#[test]
fn resource_of_an_unknown_type_keeps_the_listener_closed() {
    let mut plan = mk_templated();
    plan.envoy.push(plan::EnvoyResource { name: "new".into(), body: None });
    let done = run(&plan, Families::V4, &Fixture::default());
    assert!(done.outputs.is_empty(), "{:?}", done.outputs);
    let running = BTreeSet::from(["rtp-l".to_owned()]);
    let request = Request {
        plan: &read(&plan),
        families: Families::V4,
        streams: &Streams::Aggregated,
        denied: &BTreeSet::new(),
        running: &running,
        defaults: Defaults::default(),
        called: &BTreeMap::new(),
    };
    let kept = translate(&request, &Fixture::default()).unwrap();
    let clusters = kept.outputs.iter().filter(|(ty, _)| *ty == Envoy::Cluster).count();
    assert_eq!(clusters, 3, "an earlier version of the listener leads to them");
    assert!(done.remarks[0].text.contains("a resource of its template"), "{:?}", done.remarks);
}
