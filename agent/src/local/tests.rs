//! How long a proxy waits for its first answer while a host name is unknown, and the agent for the hub.

use std::time::Duration;

use bytes::Bytes;
use portreeve_agent_core::translate::Families;
use portreeve_api::pod::Pod;
use portreeve_api::{PlanType, plan, selector};
use portreeve_envoy::{Envoy, registry};
use portreeve_xds::{Hello, Node, Peer, ResourceType as _, Source, Variant, Version};
use prost::Message as _;
use serde_json::json;

use super::*;
use crate::identity::Identity;
use crate::supervisor::Supervisor;

/// A Plan for proxies with `app=gw`, with one endpoint that is a host name.
fn mk_plan() -> plan::Plan {
    let labels = BTreeMap::from([("app".to_owned(), "gw".to_owned())]);
    let selector = Some((&selector::from_map(&labels)).into());
    let socket = |port| plan::Socket { protocol: plan::Protocol::Udp.into(), port, ..Default::default() };
    let source = plan::EndpointSource {
        from: Some(plan::endpoint_source::From::Host("echo".into())),
        port: 9,
        ..Default::default()
    };
    let route = plan::Route { destination: "c".into(), ..Default::default() };
    plan::Plan {
        origin: Some(plan::Origin {
            api: "A".into(),
            namespace: "ns".into(),
            name: "call".into(),
            kind: "VirtualService".into(),
            ..Default::default()
        }),
        workload: Some(plan::Workload { namespace: "ns".into(), selector, ..Default::default() }),
        listeners: vec![plan::Listener {
            name: "l".into(),
            socket: Some(socket(2000)),
            rules: vec![plan::Rule { route: Some(route), ..Default::default() }],
            ..Default::default()
        }],
        clusters: vec![plan::Cluster {
            name: "c".into(),
            socket: Some(socket(0)),
            endpoints: vec![source],
            ..Default::default()
        }],
        dns_namespace: "ns".into(),
        ..Default::default()
    }
}

/// Returns a world that received everything from the hub, with a pod `p` of this label `app`.
fn mk_world(app: &str) -> World {
    let mut world = World::new(registry::fleets(), Families::V4);
    let body = mk_plan().encode_to_vec();
    world
        .apply_feed(PlanType::Plan, &[("A/ns/call".into(), Version::of(&body), Bytes::from(body))], &[])
        .unwrap();
    for ty in PlanType::ALL {
        world.apply_feed(*ty, &[], &[]).unwrap();
    }
    let pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "p", "labels": {"app": app}},
        "spec": {"nodeName": "n", "containers": []},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    });
    world.apply_pod(Pod::from_kube(serde_json::from_value(pod).unwrap()).unwrap());
    world
}

fn mk_door() -> Door {
    let dir = tempfile::tempdir().unwrap();
    let (run_dir, socket) = (dir.path().to_owned(), dir.path().join("agent.sock"));
    let supervisor = Supervisor::new(run_dir, vec!["false".into()], socket, false).unwrap();
    Door::new(Identity::Claimed, "n", supervisor)
}

/// Opens a stream as pod `p`. Returns how long that took on the paused clock.
async fn opens(world: World) -> Duration {
    let local = Local::new("n", world, mk_door());
    let hello = Hello {
        stream: 1,
        node: Node { id: "p".into(), ..Node::default() },
        peer: Peer::default(),
        variant: Variant::Delta,
        headers: http::HeaderMap::new(),
        aggregated: true,
        authority: None,
        fresh: true,
    };
    let began = tokio::time::Instant::now();
    Source::<Envoy>::open(&*local, hello).await.unwrap();
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn silent_name_holds_back_only_proxies_of_its_plans_and_those_for_three_seconds() {
    for (app, seconds) in [("other", 0), ("gw", 3)] {
        assert_eq!(opens(mk_world(app)).await.as_secs(), seconds, "{app}");
    }
}

/// The state of an agent that has stored everything, and has no NodeProxy.
fn mk_restored() -> Arc<Local> {
    let kept = Restored { complete: true, ..Restored::default() };
    Local::restored("n", World::new(registry::fleets(), Families::V4), mk_door(), (Saver::default(), kept))
}

#[tokio::test(start_paused = true)]
async fn stored_state_that_may_be_older_than_what_runs_is_not_acted_on_for_three_seconds() {
    let (alone, told) = (mk_restored(), mk_restored());
    for local in [&alone, &told] {
        assert!(local.read(World::complete) && local.node_proxies().is_none());
    }
    for ty in PlanType::ALL {
        assert!(told.read_newest(|_| ()).is_none(), "{ty:?} is missing");
        told.change(|world| world.apply_feed(*ty, &[], &[])).unwrap();
    }
    assert!(told.node_proxies().is_some() && alone.node_proxies().is_none());
    let mut changes = alone.changes();
    changes.mark_unchanged();
    let began = tokio::time::Instant::now();
    tokio::select! {
        changed = changes.changed() => changed.unwrap(),
        () = alone.end_patience() => {}
    }
    assert_eq!(began.elapsed().as_secs(), 3);
    assert!(alone.node_proxies().is_some());
}
