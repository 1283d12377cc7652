//! Fifty clients at once (case 29), and clients that exceed their limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use portreeve_xds::EnvoyType::{Cluster, Endpoint};
use portreeve_xds::{Base, Batch, Budget, Changes, EnvoyType, Limits, Load, Resource, Snapshot, View};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::stand::{Caller, One, Stand, clusters, node, subscribe, until};

/// Connects, gets all clusters, then all assignments by name, as Envoy does. Returns the number of resources.
async fn full_push(sock: std::path::PathBuf) -> usize {
    let mut caller = Caller::ads(&sock).await;
    caller.send(subscribe(Cluster, &[])).await;
    let first = caller.acked().await;
    let names: Vec<String> = first.resources.iter().map(|one| one.name.clone()).collect();
    caller.send(subscribe(Endpoint, &names)).await;
    let second = caller.acked().await;
    assert!(second.removed_resources.is_empty());
    first.resources.len() + second.resources.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_at_once_each_get_all_thousand_clusters() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1000, 300))));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        clients.spawn(full_push(stand.sock.clone()));
    }
    let counts = clients.join_all().await;
    println!("50 clients x 1,000 clusters: {:?}", start.elapsed());
    assert_eq!(counts, [2000; 50]);
    stand.stop().await;
}

#[tokio::test]
async fn clients_begin_one_after_another_and_nobody_holds_up_the_next_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let turns = Arc::new(Semaphore::new(1));
    let stand =
        Stand::start(dir.path(), One { turns: turns.clone(), ..One::new(View::new(clusters(10, 10))) });
    let mut callers = Vec::new();
    for i in 0..4_u64 {
        let caller = Caller::ads(&stand.sock).await;
        caller.send(subscribe(Cluster, &[])).await;
        callers.push(caller);
        until("the stream", || stand.source.heard().hellos.len() as u64 == i + 1).await;
    }
    let [first, second, third, _] = &mut callers[..] else { panic!("four") };
    let response = first.next().await;
    let waits = tokio::time::timeout(Duration::from_millis(300), second.responses.message()).await;
    assert!(waits.is_err(), "the first has not answered yet: {waits:?}");
    let (type_url, response_nonce) = (response.type_url, response.nonce);
    first.send(DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }).await;
    assert_eq!(second.next().await.resources.len(), 10);
    let begun = Instant::now();
    assert_eq!(third.next().await.resources.len(), 10, "the second doesn't answer");
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
    callers.remove(2);
    assert_eq!(callers[2].acked().await.resources.len(), 10, "the third is gone");
    until("the end of the last turn", || turns.available_permits() == 1).await;
    stand.stop().await;
}

#[tokio::test]
async fn client_that_reads_nothing_holds_up_the_next_for_a_few_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let turns = Arc::new(Semaphore::new(1));
    let large = View::new(clusters(5_000, 2_000));
    let stand = Stand::start(dir.path(), One { turns: turns.clone(), ..One::new(large) });
    let silent = Caller::ads(&stand.sock).await;
    silent.send(subscribe(Endpoint, &["*".into()])).await;
    until("the first turn", || turns.available_permits() == 0).await;
    let mut next = Caller::ads(&stand.sock).await;
    next.send(subscribe(Endpoint, &["*".into()])).await;
    let answered = tokio::time::timeout(Duration::from_secs(10), next.next()).await;
    assert_eq!(answered.map(|response| response.resources.len()), Ok(5_000));
    stand.stop().await;
}

/// A change of a thousand clusters that views share.
fn much(base: &mut Base<EnvoyType>, body: &[u8]) -> Batch<EnvoyType> {
    let upsert =
        (0..1000).map(|i| (Cluster, Resource::new(Cluster, format!("c{i}"), body))).collect::<Vec<_>>();
    base.apply(&Changes { upsert, remove: Vec::new() }).into()
}

#[tokio::test]
async fn stream_with_very_many_changes_waits_for_its_turn_and_sends_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let (turns, mut base) = (Arc::new(Semaphore::new(1)), Base::default());
    let view = View::new(Snapshot::of(base.clone(), None));
    let stand = Stand::start(dir.path(), One { turns: turns.clone(), ..One::new(view.clone()) });
    let mut caller = Caller::ads(&stand.sock).await;
    caller.send(subscribe(Cluster, &[])).await;
    assert_eq!(caller.acked().await.resources.len(), 0);
    until("the end of the first turn", || turns.available_permits() == 1).await;
    let another = turns.clone().acquire_owned().await.unwrap();
    let mut install = |body: &[u8]| {
        let differ = much(&mut base, body);
        view.install(base.clone(), &differ, Changes::default());
    };
    install(b"1");
    let waits = tokio::time::timeout(Duration::from_millis(300), caller.responses.message()).await;
    assert!(waits.is_err(), "it is another's turn: {waits:?}");
    install(b"2");
    drop(another);
    let response = caller.next().await;
    assert_eq!(response.resources.len(), 1000);
    assert!(response.resources.iter().all(|one| one.resource.as_ref().is_some_and(|any| any.value == b"2")));
    assert_eq!(turns.available_permits(), 0, "the client has not answered");
    let (type_url, response_nonce) = (response.type_url, response.nonce);
    caller.send(DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }).await;
    until("the end of the turn", || turns.available_permits() == 1).await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_was_just_sent_everything_gets_the_next_change_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let view = View::new(clusters(2_000, 20_000));
    let stand = Stand::start(dir.path(), One::new(view.clone()));
    let mut others = Vec::new();
    for _ in 0..60 {
        let caller = Caller::ads(&stand.sock).await;
        caller.send(subscribe(Cluster, &["none".into()])).await;
        others.push(caller);
    }
    until("the other streams", || stand.source.heard().hellos.len() == 60).await;
    let mut caller = Caller::ads(&stand.sock).await;
    caller.send(subscribe(Endpoint, &["*".into()])).await;
    assert_eq!(caller.acked().await.resources.len(), 2_000);
    until("the ACK", || !stand.source.heard().events.is_empty()).await;
    let begun = Instant::now();
    view.apply(Changes {
        upsert: vec![(Endpoint, Resource::new(Endpoint, "new", b"1"))],
        remove: Vec::new(),
    });
    assert_eq!(caller.next().await.resources.len(), 1);
    // The share of a processor that the 40 MB take is that of three seconds.
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    stand.stop().await;
}

#[tokio::test]
async fn first_request_is_not_read_before_there_may_be_views() {
    let dir = tempfile::tempdir().unwrap();
    let source = One { up: Semaphore::new(0), ..One::new(View::new(clusters(1, 10))) };
    let stand = Stand::limited(dir.path(), source, Limits { max_request: 1_000, ..Limits::default() });
    let mut caller = Caller::ads(&stand.sock).await;
    caller.send(subscribe(Cluster, &["x".repeat(2_000)])).await;
    let waits = tokio::time::timeout(Duration::from_millis(300), caller.responses.message()).await;
    assert!(waits.is_err(), "a request that is too long was read: {waits:?}");
    stand.source.up.add_permits(1);
    let status = caller.end().await;
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
    stand.stop().await;
}

/// A server with a limit of ten names of a hundred bytes per stream.
fn narrow(dir: &std::path::Path, budget: Option<Arc<Budget>>) -> Stand {
    let limits = Limits { load: Load { names: 10, bytes: 100 }, ..Limits::default() };
    Stand::limited(dir, One { budget, ..One::new(View::new(clusters(1, 10))) }, limits)
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("n{i}")).collect()
}

async fn is_exhausted(caller: &mut Caller) {
    let status = caller.end().await;
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("at most"), "{status}");
}

#[tokio::test]
async fn stream_that_asks_for_too_many_names_is_ended_and_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let stand = narrow(dir.path(), None);
    let long = vec!["x".repeat(101)];
    let foreign = |names: Vec<String>| DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/foreign".into(),
        resource_names_subscribe: names,
        ..Default::default()
    };
    let initial = DeltaDiscoveryRequest {
        initial_resource_versions: names(0..11).into_iter().map(|name| (name, "0".into())).collect(),
        ..subscribe(Endpoint, &[])
    };
    let metadata =
        names(0..11).into_iter().map(|name| (name, Value { kind: Some(Kind::StringValue(String::new())) }));
    let mut sender = node("n").unwrap();
    sender.metadata = Some(Struct { fields: metadata.collect() });
    let talkative = DeltaDiscoveryRequest { node: Some(sender), ..subscribe(Endpoint, &[]) };
    let types = (0..33).map(|i| DeltaDiscoveryRequest { type_url: i.to_string(), ..Default::default() });
    let requests = [
        vec![talkative],
        types.collect(),
        vec![subscribe(Endpoint, &names(0..11))],
        vec![subscribe(Endpoint, &names(0..6)), subscribe(Endpoint, &names(6..12))],
        vec![subscribe(Endpoint, &names(0..6)), subscribe(Cluster, &names(0..6))],
        vec![subscribe(Endpoint, &long)],
        vec![foreign(names(0..11))],
        vec![foreign(names(0..5)), foreign(long)],
        vec![initial],
    ];
    let count = requests.len();
    for all in requests {
        let mut caller = Caller::ads(&stand.sock).await;
        for request in all {
            caller.send(request).await;
        }
        is_exhausted(&mut caller).await;
    }
    assert_eq!(stand.source.heard().exhausted.len(), count);
    stand.stop().await;
}

#[tokio::test]
async fn unsubscribed_names_no_longer_count() {
    let dir = tempfile::tempdir().unwrap();
    let stand = narrow(dir.path(), None);
    let mut caller = Caller::ads(&stand.sock).await;
    for round in 0..20 {
        let names = names(round * 8..round * 8 + 8);
        caller.send(subscribe(Endpoint, &names)).await;
        assert_eq!(caller.acked().await.removed_resources.len(), 8, "round {round}");
        let given_up =
            DeltaDiscoveryRequest { resource_names_unsubscribe: names, ..subscribe(Endpoint, &[]) };
        caller.send(given_up).await;
    }
    stand.stop().await;
}

#[tokio::test]
async fn streams_of_one_peer_share_its_budget_and_an_ended_one_gives_it_back_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let budget = Budget::new(Load { names: 15, bytes: 1000 });
    let stand = narrow(dir.path(), Some(budget.clone()));
    let mut one = Caller::ads(&stand.sock).await;
    one.send(subscribe(Endpoint, &names(0..10))).await;
    one.acked().await;
    let mut two = Caller::ads(&stand.sock).await;
    two.send(subscribe(Endpoint, &names(0..6))).await;
    is_exhausted(&mut two).await;
    assert_eq!(budget.used().names, 10, "the refused one has nothing");
    drop(one);
    until("the end of the first", || budget.used() == Load::default()).await;
    let mut three = Caller::ads(&stand.sock).await;
    three.send(subscribe(Endpoint, &names(0..6))).await;
    three.acked().await;
    stand.stop().await;
}
