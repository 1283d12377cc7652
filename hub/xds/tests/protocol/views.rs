//! A view and the streams that watch it (cases 22 and 26).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Instant;

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener};
use portreeve_xds::{
    Base, Batch, Changes, EnvoyType, Kind, Request, Resource, Snapshot, Variant, View, Watch, Withheld,
};

use crate::peer::{about, ack, res, show, subscribe, unsubscribe};

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn upsert(list: Vec<(EnvoyType, Arc<Resource>)>) -> Changes<EnvoyType> {
    Changes { upsert: list, remove: vec![] }
}

fn watch(view: &Arc<View<EnvoyType>>) -> Watch<EnvoyType> {
    Watch::new(view.clone(), Variant::Delta, None)
}

fn settle(watch: &mut Watch<EnvoyType>) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(response) = watch.next(Instant::now()) {
        watch.request(ack(&response), Instant::now());
        seen.push(show(&response));
    }
    seen
}

fn rings(watch: &mut Watch<EnvoyType>) -> Arc<Bell> {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    assert!(watch.poll_changed(&mut Context::from_waker(&waker)).is_pending());
    bell
}

#[test]
fn change_wakes_only_streams_that_are_subscribed() {
    let view = View::new(Snapshot::new());
    let (mut named, mut all, mut other) = (watch(&view), watch(&view), watch(&view));
    named.request(subscribe(Endpoint, &["a"]), Instant::now());
    all.request(subscribe(Endpoint, &["*"]), Instant::now());
    other.request(subscribe(Endpoint, &["b"]), Instant::now());
    for one in [&mut named, &mut all, &mut other] {
        settle(one);
    }
    let bells = [rings(&mut named), rings(&mut all), rings(&mut other)];
    assert_eq!(view.apply(upsert(vec![res(Endpoint, "a", "1")])), 1);
    assert_eq!(bells.map(|bell| bell.0.load(Ordering::Relaxed)), [1, 1, 0]);
    assert_eq!(settle(&mut named), ["Endpoint +a"]);
    assert_eq!(settle(&mut all), ["Endpoint +a"]);
    assert!(settle(&mut other).is_empty());
}

#[test]
fn nothing_is_posted_when_nothing_differs() {
    let view = View::new(Snapshot::new());
    view.apply(upsert(vec![res(Cluster, "a", "1")]));
    let mut stream = watch(&view);
    stream.request(about(Cluster), Instant::now());
    settle(&mut stream);
    let bell = rings(&mut stream);
    assert_eq!(view.apply(upsert(vec![res(Cluster, "a", "1")])), 0);
    assert_eq!(bell.0.load(Ordering::Relaxed), 0);
}

#[test]
fn replace_applies_the_difference() {
    let view = View::new(Snapshot::new());
    view.apply(upsert(vec![res(Listener, "a", "1"), res(Listener, "b", "1"), res(Listener, "c", "1")]));
    let mut stream = watch(&view);
    stream.request(about(Listener), Instant::now());
    settle(&mut stream);
    let mut next = Snapshot::new();
    for (ty, resource) in [res(Listener, "a", "1"), res(Listener, "b", "2"), res(Listener, "d", "1")] {
        next.insert(ty, resource);
    }
    assert_eq!(view.replace(next), 3);
    assert_eq!(settle(&mut stream), ["Listener +b +d -c"]);
}

#[test]
fn streams_see_a_transaction_as_a_whole() {
    let view = View::new(Snapshot::new());
    let mut stream = watch(&view);
    stream.request(about(Cluster), Instant::now());
    stream.request(about(Listener), Instant::now());
    settle(&mut stream);
    view.apply(upsert(vec![res(Listener, "l", "1"), res(Cluster, "c", "1")]));
    assert_eq!(settle(&mut stream), ["Cluster +c", "Listener +l"]);
}

#[test]
fn unsubscribed_and_departed_streams_are_no_longer_visited() {
    let view = View::new(Snapshot::new());
    let mut stream = watch(&view);
    stream.request(subscribe(Endpoint, &["a"]), Instant::now());
    settle(&mut stream);
    stream.request(unsubscribe(Endpoint, &["a"]), Instant::now());
    let bell = rings(&mut stream);
    let gone = watch(&view);
    assert_eq!(view.streams(), 2);
    drop(gone);
    assert_eq!(view.streams(), 1);
    view.apply(upsert(vec![res(Endpoint, "a", "1")]));
    assert_eq!(bell.0.load(Ordering::Relaxed), 0);
}

#[test]
fn watermark_is_sent_with_later_responses_only() {
    let view = View::new(Snapshot::new());
    let mut stream = watch(&view);
    stream.request(about(Cluster), Instant::now());
    assert_eq!(stream.next(Instant::now()).unwrap().system_version, None);
    view.set_watermark("w1".into());
    assert!(stream.next(Instant::now()).is_none(), "a watermark alone sends nothing");
    view.apply(upsert(vec![res(Cluster, "a", "1")]));
    assert_eq!(stream.next(Instant::now()).unwrap().system_version.as_deref(), Some("w1"));
    assert_eq!(view.watermark().as_deref(), Some("w1"));
}

#[test]
fn closing_wakes_every_stream_with_the_reason() {
    let view: Arc<View<EnvoyType>> = View::new(Snapshot::new());
    let mut stream = watch(&view);
    let bell = rings(&mut stream);
    view.close("going away");
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    assert_eq!(stream.closed().as_deref(), Some("going away"));
    assert!(watch(&view).closed().is_some(), "a later stream is told too");
}

#[test]
fn stream_that_does_not_read_merges_its_changes_and_delays_no_other() {
    let view = View::new(Snapshot::new());
    let (mut stuck, mut quick) = (watch(&view), watch(&view));
    for one in [&mut stuck, &mut quick] {
        one.request(subscribe(Endpoint, &["a"]), Instant::now());
        settle(one);
    }
    for round in 0..200 {
        view.apply(upsert(vec![res(Endpoint, "a", &round.to_string())]));
        assert_eq!(settle(&mut quick), ["Endpoint +a"]);
    }
    let last = stuck.next(Instant::now()).unwrap();
    assert_eq!(last.resources[0].body(), b"199");
    assert!(stuck.next(Instant::now()).is_none());
}

/// A stream whose client claims these resources.
fn returning(view: &Arc<View<EnvoyType>>, ty: EnvoyType, has: &[(&str, &str)]) -> Watch<EnvoyType> {
    let mut watch = watch(view);
    let initial = has.iter().map(|(name, version)| ((*name).into(), (*version).into())).collect();
    let subscribe = match ty {
        Endpoint => has.iter().map(|(name, _)| (*name).into()).collect(),
        _ => Vec::new(),
    };
    watch.request(Request { initial, subscribe, ..Request::new(Kind::Known(ty)) }, Instant::now());
    watch
}

#[test]
fn withheld_name_is_neither_confirmed_nor_removed_until_its_deletion_is_known() {
    let view = View::new(Snapshot::new());
    view.withhold(Withheld::all());
    let held = [("known", "0"), ("unsure", "0"), ("gone", "0")];
    let mut listeners = returning(&view, Listener, &held);
    let mut endpoints = returning(&view, Endpoint, &[("unsure", "0")]);
    assert_eq!(settle(&mut listeners), ["Listener"], "nothing to say, but an answer");
    assert!(settle(&mut endpoints).is_empty());
    view.apply(upsert(vec![res(Listener, "known", "1")]));
    assert_eq!(settle(&mut listeners), ["Listener +known"]);

    let one = Withheld { names: [(Listener, "unsure".into())].into(), ..Withheld::default() };
    let bell = rings(&mut listeners);
    view.withhold(one.clone());
    view.withhold(one);
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    assert_eq!(settle(&mut listeners), ["Listener -gone"]);
    view.withhold(Withheld::default());
    assert_eq!(settle(&mut listeners), ["Listener -unsure"]);
    assert_eq!(settle(&mut endpoints), ["Endpoint +unsure", "Endpoint -unsure"], "emptied, then removed");
    assert!(settle(&mut listeners).is_empty() && settle(&mut endpoints).is_empty());
}

#[test]
fn withheld_name_is_sent_when_it_exists_and_removed_once_it_was_sent() {
    let view = View::new(Snapshot::new());
    view.withhold(Withheld::all());
    let mut listeners = returning(&view, Listener, &[("a", "0")]);
    settle(&mut listeners);
    view.apply(upsert(vec![res(Listener, "a", "1")]));
    assert_eq!(settle(&mut listeners), ["Listener +a"]);
    view.apply(Changes { upsert: vec![], remove: vec![(Listener, "a".into())] });
    assert_eq!(settle(&mut listeners), ["Listener -a"], "this server knows that it is gone");
}

#[test]
fn change_of_a_base_reaches_streams_by_wildcard_and_by_name_but_not_its_masked_name() {
    let mut base = Base::default();
    base.apply(&upsert(["a", "b", "own"].map(|name| res(Endpoint, name, "0")).into()));
    let view = View::new(Snapshot::of(base.clone(), Some((Endpoint, "own".into()))));
    let (mut named, mut all, mut other) = (watch(&view), watch(&view), watch(&view));
    named.request(subscribe(Endpoint, &["a", "own"]), Instant::now());
    all.request(subscribe(Endpoint, &["*"]), Instant::now());
    other.request(subscribe(Cluster, &["*"]), Instant::now());
    assert_eq!(settle(&mut named), ["Endpoint +a -own"]);
    assert_eq!(settle(&mut all), ["Endpoint +a +b"]);
    settle(&mut other);
    let mut change = |name: &str, body: &str| {
        let changes = upsert(vec![res(Endpoint, name, body)]);
        let differ: Batch<EnvoyType> = base.apply(&changes).into();
        view.install(base.clone(), &differ, Changes::default())
    };
    let bells = [rings(&mut named), rings(&mut all), rings(&mut other)];
    assert_eq!((change("own", "1"), view.revision()), (0, 0));
    assert_eq!(bells.each_ref().map(|bell| bell.0.load(Ordering::Relaxed)), [0, 0, 0]);
    assert_eq!((change("a", "1"), view.revision()), (1, 1));
    assert_eq!(bells.map(|bell| bell.0.load(Ordering::Relaxed)), [1, 1, 0]);
    assert_eq!(settle(&mut named), ["Endpoint +a"]);
    assert_eq!(settle(&mut all), ["Endpoint +a"]);
    // A stream that doesn't read gets the last of very many changes.
    for round in 0..1_000 {
        change(if round % 2 == 0 { "a" } else { "b" }, &format!("{round}"));
    }
    assert_eq!(settle(&mut named), ["Endpoint +a"]);
    let last = all.next(Instant::now()).map(|response| response.resources);
    let bodies: Vec<_> = last.iter().flat_map(|all| all.iter()).map(|one| one.body().to_vec()).collect();
    assert_eq!(
        bodies,
        [res(Endpoint, "a", "998"), res(Endpoint, "b", "999")].map(|(_, one)| one.body().to_vec())
    );
    assert!(settle(&mut other).is_empty());
}
