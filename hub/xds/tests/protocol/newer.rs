//! Clients that claim newer versions than the server has, because its state was stored before they got them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener};
use portreeve_xds::{
    Changes, EnvoyType, Kind, Request, Response, Snapshot, Variant, Version, View, Watch, Withheld,
};

use crate::peer::{ack, res, show};

/// A view of a server with stored state: version `1` of everything. Of `older`, clients had accepted version `0`.
fn restored() -> Arc<View<EnvoyType>> {
    let (mut snapshot, mut accepted) = (Snapshot::new(), BTreeMap::new());
    for ty in [Listener, Cluster, Endpoint] {
        for (name, before) in [("same", b"1"), ("older", b"0"), ("newer", b"1")] {
            snapshot.insert(ty, res(ty, name, "1").1);
            accepted.insert((ty, name.into()), Version::of(before));
        }
    }
    let view = View::new(snapshot);
    view.withhold(Withheld { accepted: Some(Arc::new(accepted)), ..Withheld::all() });
    view
}

/// A returning client: one resource is the server's, one is what the client had accepted before, one is newer.
fn returning(view: &Arc<View<EnvoyType>>, ty: EnvoyType) -> Watch<EnvoyType> {
    let mut watch = Watch::new(view.clone(), Variant::Delta, None);
    let has = [("same", b"1"), ("older", b"0"), ("newer", b"2")];
    let initial = has.map(|(name, body)| (name.into(), Version::of(body).to_string())).into();
    let subscribe = match ty {
        Endpoint => has.map(|(name, _)| name.into()).into(),
        _ => Vec::new(),
    };
    watch.request(Request { initial, subscribe, ..Request::new(Kind::Known(ty)) }, Instant::now());
    watch
}

fn settle(watch: &mut Watch<EnvoyType>) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(response) = watch.next(Instant::now()) {
        watch.request(ack(&response), Instant::now());
        seen.push(told(&response));
    }
    seen
}

/// The response with its bodies.
fn told(response: &Response<EnvoyType>) -> String {
    let bodies = response.resources.iter().map(|one| String::from_utf8_lossy(one.body()).into_owned());
    format!("{} {}", show(response), bodies.collect::<Vec<_>>().join(","))
}

fn put(view: &View<EnvoyType>, ty: EnvoyType, name: &str, body: &str) {
    view.apply(Changes { upsert: vec![res(ty, name, body)], remove: vec![] });
}

#[test]
fn client_keeps_what_may_be_newer_and_gets_what_is_known_to_be_older() {
    for ty in [Listener, Cluster, Endpoint] {
        let view = restored();
        let mut stream = returning(&view, ty);
        assert_eq!(settle(&mut stream), [format!("{ty:?} +older 1")]);
        view.withhold(Withheld::default());
        assert_eq!(settle(&mut stream), [format!("{ty:?} +newer 1")], "the server is up to date now");
        assert!(settle(&mut stream).is_empty());
    }
}

#[test]
fn newer_version_that_the_server_learns_of_is_not_sent_again() {
    for ty in [Listener, Cluster, Endpoint] {
        let view = restored();
        let mut stream = returning(&view, ty);
        settle(&mut stream);
        put(&view, ty, "newer", "2");
        view.withhold(Withheld::default());
        assert!(settle(&mut stream).is_empty());
        put(&view, ty, "newer", "3");
        assert_eq!(settle(&mut stream), [format!("{ty:?} +newer 3")]);
    }
}

#[test]
fn change_of_the_servers_own_is_sent_though_the_client_may_be_newer() {
    for ty in [Listener, Cluster, Endpoint] {
        let view = restored();
        let mut stream = returning(&view, ty);
        settle(&mut stream);
        put(&view, ty, "newer", "local");
        assert_eq!(settle(&mut stream), [format!("{ty:?} +newer local")]);
        view.withhold(Withheld::default());
        assert!(settle(&mut stream).is_empty());
    }
}

#[test]
fn more_knowledge_of_what_was_accepted_sends_what_is_older_by_it() {
    let view = restored();
    let mut stream = returning(&view, Listener);
    settle(&mut stream);
    let accepted = [((Listener, "newer".into()), Version::of(b"2"))].into();
    view.withhold(Withheld { accepted: Some(Arc::new(accepted)), ..Withheld::all() });
    assert_eq!(settle(&mut stream), ["Listener +newer 1"]);
}
