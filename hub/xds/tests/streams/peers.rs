//! Several streams, hung peers and slow readers (cases 22, 26, 28).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portreeve_xds::EnvoyType::{Cluster, Endpoint};
use portreeve_xds::{Changes, Resource, View};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clients::Store;
use crate::stand::{Caller, One, Stand, clusters, node, subscribe, until};

fn endpoint_change(name: &str, body: &str) -> Changes<portreeve_xds::EnvoyType> {
    Changes { upsert: vec![(Endpoint, Resource::new(Endpoint, name, body.as_bytes()))], remove: vec![] }
}

#[tokio::test]
async fn two_streams_of_one_node_are_both_served_and_the_end_of_one_leaves_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1, 10))));
    let mut callers = Vec::new();
    for _ in 0..2 {
        let mut caller = Caller::ads(&stand.sock).await;
        let mut request = subscribe(Endpoint, &["cluster-00000".into()]);
        request.node = node("same");
        caller.send(request).await;
        assert_eq!(caller.acked().await.resources.len(), 1);
        callers.push(caller);
    }
    assert_eq!(stand.source.view.streams(), 2);
    stand.source.view.apply(endpoint_change("cluster-00000", "2"));
    for caller in &mut callers {
        assert_eq!(caller.acked().await.resources.len(), 1);
    }
    callers.remove(0);
    until("the end of the first", || stand.source.view.streams() == 1).await;
    stand.source.view.apply(endpoint_change("cluster-00000", "3"));
    assert_eq!(callers[0].acked().await.resources.len(), 1);
    stand.stop().await;
}

#[tokio::test]
async fn stuck_reader_delays_no_other_and_gets_the_newest_state_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1, 10))));
    let names = ["cluster-00000".to_string()];
    let (mut stuck, mut quick) = (Caller::ads(&stand.sock).await, Caller::ads(&stand.sock).await);
    for caller in [&mut stuck, &mut quick] {
        caller.send(subscribe(Endpoint, &names)).await;
        caller.acked().await;
    }
    // Far more than the stuck connection's windows hold.
    for round in 0..200 {
        let body = format!("{round:05}").repeat(10_000);
        stand.source.view.apply(endpoint_change("cluster-00000", &body));
        let response = quick.acked().await;
        assert!(
            response.resources[0]
                .resource
                .as_ref()
                .unwrap()
                .value
                .ends_with(format!("{round:05}").as_bytes())
        );
    }
    let mut count = 0;
    loop {
        let response = stuck.acked().await;
        count += 1;
        if response.resources[0].resource.as_ref().unwrap().value.ends_with(b"00199") {
            break;
        }
    }
    assert!(count <= 10, "{count} responses");
    stand.stop().await;
}

/// Forwards between a client and a server until it is frozen. Then each finds its peer silent.
struct Relay {
    sock: PathBuf,
    freeze: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    fn start(dir: &Path, to: PathBuf) -> Self {
        let sock = dir.join("relay.sock");
        let listener = UnixListener::bind(&sock).unwrap_or_else(|error| panic!("bind: {error}"));
        let (freeze, frozen) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&to).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                pairs.spawn(forward(from_client, to_server, frozen.clone()));
                pairs.spawn(forward(from_server, to_client, frozen.clone()));
            }
        });
        Self { sock, freeze, _tasks: tasks }
    }
}

async fn forward(
    mut from: tokio::net::unix::OwnedReadHalf,
    mut to: tokio::net::unix::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = frozen.changed() => continue,
        };
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn hung_peer_is_noticed_on_both_sides_and_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(3, 10))));
    let relay = Relay::start(dir.path(), stand.sock.clone());
    let (far, near) = (Store::default(), Store::default());
    let _clients = (far.follow(&relay.sock), near.follow(&stand.sock));
    until("both clients", || [&far, &near].iter().all(|store| store.with(|state| state.held.len() == 6)))
        .await;
    assert!(relay.freeze.send(true).is_ok());
    let start = Instant::now();
    until("the server to notice", || stand.source.view.streams() == 1).await;
    until("the client to notice", || far.with(|state| !state.connected)).await;
    assert!(start.elapsed() < Duration::from_millis(4500), "{:?}", start.elapsed());
    stand.source.view.apply(endpoint_change("cluster-00001", "new"));
    let version = portreeve_xds::Version::of(b"new");
    let has = |store: &Store| store.with(|state| state.held[&(Endpoint, "cluster-00001".into())] == version);
    until("the other client's update", || has(&near)).await;
    assert!(near.with(|state| state.losses == 0));
    assert!(relay.freeze.send(false).is_ok());
    until("the hung client's return", || has(&far)).await;
    stand.stop().await;
}

#[tokio::test]
async fn stopping_the_server_ends_streams_that_never_end_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1, 10))));
    let mut caller = Caller::ads(&stand.sock).await;
    caller.send(subscribe(Cluster, &[])).await;
    caller.acked().await;
    let source = stand.source.clone();
    stand.stop().await;
    until("the stream's end", || source.heard().closed.len() == 1).await;
    assert_ne!(caller.end().await.code(), tonic::Code::Ok);
}

/// Two listeners of one object, `z, A/ns/o/b` and `b`, of which Envoy rejects the first.
#[tokio::test]
async fn rejection_of_a_name_with_a_comma_ends_no_stream() {
    use portreeve_xds::EnvoyType::Listener;
    let names = ["A/ns/o/z, A/ns/o/b", "A/ns/o/b", "A/other/o/c"];
    let mut snapshot = portreeve_xds::Snapshot::new();
    for name in names {
        snapshot.insert(Listener, Resource::new(Listener, name, b"1"));
    }
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(snapshot)));
    let mut caller = Caller::ads(&stand.sock).await;
    caller.send(subscribe(Listener, &["*".into()])).await;
    let response = caller.next().await;
    assert_eq!(response.resources.len(), 3);
    let status = envoy_types::pb::google::rpc::Status {
        code: 13,
        message: "Error adding/updating listener(s) A/ns/o/z, A/ns/o/b: cannot bind '0.0.0.0:5000'".into(),
        ..Default::default()
    };
    let mut answer = subscribe(Listener, &[]);
    (answer.response_nonce, answer.error_detail) = (response.nonce, Some(status));
    caller.send(answer).await;
    let again: Vec<String> = caller.next().await.resources.into_iter().map(|one| one.name).collect();
    assert_eq!(again, names[1..], "what was not refused is sent again");
    stand.stop().await;
}
