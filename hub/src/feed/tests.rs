//! A change enters in one visit, and what follows changes follows its record.

use std::collections::BTreeSet;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::PlanType;
use portreeve_api::a::virtual_service::{KIND, VirtualService};
use portreeve_api::pod::Pod;
use portreeve_runtime::Traces;
use serde_json::json;

use super::audience::Audience;
use super::*;
use crate::change::{Arrival, Fate, News, Record, Version};
use crate::index::Labels;
use crate::object::{Object, Rejection};
use crate::selection::SelectorScope;

fn mk_feed() -> Arc<Feed> {
    let feed = Feed::new(Index::new(SelectorScope::Namespace, 0), Readiness::default(), Door::Open);
    feed.load(|index, now| index.apply_node("n1".into(), Labels::new(), now));
    feed
}

/// The pod on the node that all objects select.
fn mk_gateway() -> Pod {
    let pod = json!({
        "metadata": {"name": "g", "namespace": "ns", "uid": "g", "labels": {"app": "gw"}},
        "spec": {"nodeName": "n1", "containers": []},
        "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
    });
    Pod::from_kube(serde_json::from_value(pod).unwrap()).unwrap()
}

fn key(name: &str) -> ObjectRef {
    ObjectRef::namespaced(&KIND, "ns", name)
}

/// An object in a generation; its Plan follows from the port.
fn mk_arrival(name: &str, generation: i64, port: u16) -> Arrival {
    let (object, _) = VirtualService::parse(json!({
        "apiVersion": "servicemesh.l7mp.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": generation},
        "spec": {"selector": {"app": "gw"}, "listeners": [{"name": "l", "udp": {"port": port, "cluster": {
            "name": "c", "service_discovery": "eds",
            "endpoints": [{"name": "e", "host": {"selector": {"app": "w"}}, "port": 1}]}}}]},
    }))
    .unwrap();
    let meta = object.metadata.clone();
    Arrival {
        key: key(name),
        meta,
        read: Ok(object.boxed()),
        conditions: Vec::new(),
        children: BTreeMap::new(),
        revision: generation.unsigned_abs(),
        fate: Fate::Stays,
    }
}

fn of() -> Watched {
    WatchedKind::of_row(0).into()
}

/// The record of some news, which must take one visit.
fn take_in(feed: &Feed, news: News) -> Record {
    let before = feed.visits();
    let record = feed.take_in(&of(), news);
    assert_eq!(feed.visits() - before, 1, "visits");
    record
}

fn put(feed: &Feed, object: Arrival) -> Record {
    take_in(feed, News::Put { object: Box::new(object), at: Instant::now() })
}

fn listed(feed: &Feed, objects: Vec<Arrival>) -> Record {
    take_in(feed, News::Listed { kind: &KIND, objects })
}

fn version(name: &str, generation: i64, since: Option<i64>) -> Vec<Version> {
    vec![Version { key: key(name), generation, since }]
}

#[test]
fn each_change_goes_in_once_and_says_what_it_did() {
    let feed = mk_feed();
    let plan = BTreeSet::from([key("a")]);
    let first = put(&feed, mk_arrival("a", 1, 1));
    assert_eq!((first.put, &first.plans), (version("a", 1, None), &plan));
    let status = put(&feed, mk_arrival("a", 1, 1));
    assert_eq!((status.put, status.plans.len()), (version("a", 1, Some(1)), 0), "a change of the status");
    let edit = put(&feed, mk_arrival("a", 2, 1));
    assert_eq!((edit.put, edit.plans.len()), (version("a", 2, Some(1)), 0), "an edit without effect");
    let other = put(&feed, mk_arrival("a", 3, 2));
    assert_eq!((other.put, &other.plans), (version("a", 3, Some(2)), &plan));
    let namesake = Arrival {
        meta: ObjectMeta { uid: Some("b".into()), ..mk_arrival("a", 1, 1).meta },
        ..mk_arrival("a", 1, 2)
    };
    let rejection = Rejection { reason: portreeve_api::conditions::Reason::Invalid, message: "no".into() };
    let namesake = put(&feed, Arrival { read: Err(rejection), ..namesake });
    assert_eq!(
        (namesake.put, &namesake.plans),
        (version("a", 1, None), &plan),
        "its predecessor's Plan is withdrawn"
    );
    let gone = take_in(&feed, News::Gone { key: key("a"), revision: 9 });
    assert_eq!((gone.gone, gone.plans.len()), (vec![key("a")], 0));
    assert!(feed.subject(&key("a")).is_none());
    assert!(feed.served().seen.to_string().starts_with("vs=9,npx=0,"));
}

#[test]
fn object_is_resolved_again_only_when_something_changed_that_the_hub_does_not_write() {
    let (feed, written) = (mk_feed(), "portreeve.dev/applied-generation");
    let resolutions = || feed.lock().index.resolutions();
    let annotated = |key: &str, revision: &str| {
        let mut arrival = mk_arrival("a", 1, 1);
        arrival.meta.annotations = Some([(key.to_owned(), "1".to_owned())].into());
        arrival.meta.resource_version = Some(revision.into());
        arrival
    };
    put(&feed, mk_arrival("a", 1, 1));
    put(&feed, annotated(written, "2"));
    listed(&feed, vec![annotated(written, "3")]);
    assert_eq!(resolutions(), 1);
    let seen = feed.take_observed().remove(&key("a")).unwrap();
    assert_eq!(seen.applied, Some(1), "the writer learns of it all the same");
    put(&feed, annotated("other", "4"));
    put(&feed, mk_arrival("a", 2, 1));
    assert_eq!(resolutions(), 3);
    take_in(&feed, News::Gone { key: key("a"), revision: 5 });
    put(&feed, mk_arrival("a", 2, 1));
    assert_eq!(resolutions(), 4, "it was away");
}

#[test]
fn what_is_gathered_waits_while_statuses_come_back() {
    let feed = mk_feed();
    put(&feed, mk_arrival("a", 1, 1));
    feed.gather(&WatchedKind::NAMESPACES.into(), 7, |_, _| ());
    let gathered = || feed.lock_gathered().len();
    let put = |generation| {
        let object = Box::new(mk_arrival("a", generation, 1));
        feed.take_in(&of(), News::Put { object, at: Instant::now() })
    };
    put(1);
    assert_eq!(gathered(), 1);
    put(2);
    assert_eq!(gathered(), 0, "an edit meets what came before it");
    feed.gather(&WatchedKind::NAMESPACES.into(), 8, |_, _| ());
    feed.take_in(&of(), News::Gone { key: key("a"), revision: 9 });
    feed.gather(&WatchedKind::NAMESPACES.into(), 9, |_, _| ());
    put(2);
    assert_eq!(gathered(), 0, "it was away");
}

#[test]
fn complete_list_is_published_in_one_push() {
    let feed = mk_feed();
    feed.load(|index, now| index.apply_pod(mk_gateway(), now));
    let view = feed.attach(("n1".into(), Audience::All), 1, Pass { until: None });
    listed(&feed, vec![mk_arrival("a", 1, 1), mk_arrival("b", 1, 2)]);
    let plans = || view.snapshot(|all| all.len(PlanType::Plan));
    assert_eq!((feed.served().pushes, plans()), (1, 2));
    let record = listed(&feed, vec![mk_arrival("b", 2, 3), mk_arrival("c", 1, 1)]);
    assert_eq!((feed.served().pushes, plans()), (2, 2));
    assert_eq!(record.gone, [key("a")]);
    assert_eq!(record.put, [version("b", 2, Some(1)), version("c", 1, None)].concat());
    assert_eq!(record.plans, ["a", "b", "c"].map(key).into());
}

#[test]
fn departing_object_waits_for_its_finalizer_until_it_is_gone() {
    let feed = mk_feed();
    let departing = Departing { finalizers: vec!["l7mp.io/delete".into()], revision: Some("2".into()) };
    let ending = |fate| Arrival { fate, ..mk_arrival("a", 2, 1) };
    put(&feed, mk_arrival("a", 1, 1));
    let record = put(&feed, ending(Fate::Departs(departing.clone())));
    assert_eq!((&record.gone, &record.departing), (&vec![key("a")], &vec![key("a")]));
    assert!(feed.subject(&key("a")).is_none() && feed.take_observed().contains_key(&key("a")));
    assert_eq!(feed.take_departing(), BTreeMap::from([(key("a"), departing.clone())]));
    for last in [
        News::Gone { key: key("a"), revision: 3 },
        News::Put { object: Box::new(ending(Fate::Leaves)), at: Instant::now() },
        News::Listed { kind: &KIND, objects: Vec::new() },
    ] {
        put(&feed, mk_arrival("a", 1, 1));
        put(&feed, ending(Fate::Departs(departing.clone())));
        let text = format!("{last:?}");
        take_in(&feed, last);
        assert_eq!(feed.take_departing(), BTreeMap::new(), "{text}");
    }
}

#[test]
fn convergence_and_traces_follow_what_came_as_news_alone() {
    let (feed, (traces, mut spans)) = (mk_feed(), Traces::channel());
    feed.trace(Tracer::new(traces, "h".into()));
    let mut told = || std::iter::from_fn(|| spans.try_recv().ok()).map(|span| span.name).collect::<Vec<_>>();
    let programmed = |generation| {
        feed.course(|course| course.programmed(&key("a"), generation, Instant::now()));
        feed.course(|course| course.spent().count())
    };
    listed(&feed, vec![mk_arrival("a", 1, 1)]);
    assert_eq!((programmed(1), told().len()), (0, 0), "it was there");
    put(&feed, mk_arrival("a", 2, 2));
    assert_eq!((programmed(2), told()), (1, vec!["resolve", "publish", "apply"]));
    put(&feed, mk_arrival("a", 3, 2));
    assert_eq!((programmed(3), told().len()), (2, 0), "an edit without effect converges, and has no trace");
    put(&feed, mk_arrival("a", 4, 3));
    take_in(&feed, News::Gone { key: key("a"), revision: 9 });
    assert_eq!(programmed(4), 2, "it is gone");
}

#[test]
fn l7mp_goes_only_to_agents_that_run_it() {
    let feed = mk_feed();
    let (labels, none) = (crate::index::Labels::new(), Pass { until: None });
    feed.load(|index, now| index.apply_node("n1".into(), labels, now));
    let attach = |audience, stream, pass| feed.attach(("n1".into(), audience), stream, pass);
    let (old, new) = (attach(Audience::Envoys, 1, none), attach(Audience::All, 2, Pass { until: None }));
    let set = |spec: serde_json::Value| {
        let object = json!({
            "apiVersion": "portreeve.dev/v1alpha1", "kind": "NodeProxy", "metadata": {"name": "mesh"}, "spec": spec,
        });
        let (proxy, _) = portreeve_api::own::node_proxy::NodeProxy::parse(object).unwrap();
        feed.load(|index, now| index.apply_proxy(&proxy, now));
        [&old, &new].map(|view| view.snapshot(|all| all.len(PlanType::NodeProxy)))
    };
    assert_eq!(set(json!({})), [1, 1]);
    assert_eq!(set(json!({"l7mp": {}})), [0, 1], "it is no Envoy any more");
    let later = attach(Audience::Envoys, 3, Pass { until: None });
    assert_eq!(later.snapshot(|all| all.len(PlanType::NodeProxy)), 0);
    assert_eq!(set(json!({"envoy": {"concurrency": 2}})), [1, 1]);
}
