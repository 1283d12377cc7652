//! This crate's client against its server: restarts, rejections and lost connections.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use portreeve_xds::EnvoyType::{Cluster, Endpoint, Listener};
use portreeve_xds::{
    Changes, Connect, Delta, EnvoyType, Event, Limits, Name, Node, Resource, Sink, Snapshot, Version, View,
    routes, run, serve_tcp, serve_unix,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::stand::{One, Stand, clusters, until, within};

/// What a client holds and has seen, shared with the test.
#[derive(Default, Clone)]
pub struct Store(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    pub held: HashMap<(EnvoyType, Name), Version>,
    pub responses: usize,
    pub resources: usize,
    pub connected: bool,
    pub connections: usize,
    pub losses: usize,
    pub watermark: Option<Arc<str>>,
    pub refuse: Option<Name>,
}

// === impl Store ===

impl Store {
    pub fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a client for this store until the tasks are dropped.
    pub fn follow(&self, sock: &Path) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let (connect, sink) = (Connect::Unix(sock.to_path_buf()), self.clone());
        tasks.spawn(run(connect, sink, std::future::pending()));
        tasks
    }
}

impl Sink<EnvoyType> for Store {
    fn node(&self) -> Node {
        Node { id: "store".into(), ..Node::default() }
    }

    fn known(&self) -> Vec<(EnvoyType, Name, Version)> {
        self.with(|state| {
            state.held.iter().map(|((ty, name), version)| (*ty, name.clone(), *version)).collect()
        })
    }

    fn apply(&mut self, delta: Delta<EnvoyType>) -> Result<(), String> {
        self.with(|state| {
            state.responses += 1;
            let refused = delta.upsert.iter().find(|one| Some(&one.name) == state.refuse.as_ref());
            if let Some(one) = refused {
                return Err(format!("{}: not to my taste", one.name));
            }
            state.resources += delta.upsert.len() + delta.removed.len();
            for one in delta.upsert {
                state.held.insert((delta.ty, one.name), one.version);
            }
            for name in delta.removed {
                state.held.remove(&(delta.ty, name));
            }
            state.watermark = delta.watermark.or(state.watermark.take());
            Ok(())
        })
    }

    fn connected(&mut self, connected: bool) {
        self.with(|state| {
            state.connected = connected;
            state.connections += usize::from(connected);
            state.losses += usize::from(!connected);
        });
    }
}

#[tokio::test]
async fn client_leaves_a_server_that_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = One { up: Semaphore::new(0), ..One::new(View::new(clusters(1, 10))) };
    let stand = Stand::start(dir.path(), source);
    let store = Store::default();
    // Claims that the server's window has no room for.
    let claims = (0..20_000).map(|n| ((Cluster, Name::from(format!("cluster-{n:05}"))), Version(n)));
    store.with(|state| state.held.extend(claims));
    let client = store.follow(&stand.sock);
    until("the stream", || stand.source.streams() == 1).await;
    drop(client);
    until("the stream's end", || stand.source.streams() == 0).await;
    stand.stop().await;
}

#[tokio::test]
async fn restarted_server_with_the_same_state_sends_no_resource() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(50, 100))));
    let store = Store::default();
    let _client = store.follow(&stand.sock);
    until("all resources", || store.with(|state| state.held.len() == 100)).await;
    let moved = store.with(|state| state.resources);
    let responses = store.with(|state| state.responses);
    stand.stop().await;
    until("the loss", || store.with(|state| state.losses == 1)).await;
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(50, 100))));
    let fresh = || store.with(|state| state.connections == 2 && state.responses >= responses + 5);
    until("an answer for each type", fresh).await;
    assert_eq!(store.with(|state| state.resources), moved);
    stand.stop().await;
}

#[tokio::test]
async fn only_changes_during_a_disconnect_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(50, 100))));
    let store = Store::default();
    let _client = store.follow(&stand.sock);
    until("all resources", || store.with(|state| state.held.len() == 100)).await;
    let moved = store.with(|state| state.resources);
    stand.stop().await;
    let mut next = clusters(50, 100);
    next.insert(Endpoint, Resource::new(Endpoint, "cluster-00007", b"new"));
    next.insert(Listener, Resource::new(Listener, "l", b"new"));
    next.remove(Cluster, "cluster-00008");
    let stand = Stand::start(dir.path(), One::new(View::new(next)));
    until("the cluster's end", || {
        store.with(|state| !state.held.contains_key(&(Cluster, "cluster-00008".into())))
    })
    .await;
    until("the listener", || store.with(|state| state.held.contains_key(&(Listener, "l".into())))).await;
    assert_eq!(store.with(|state| state.resources), moved + 3);
    stand.stop().await;
}

#[tokio::test]
async fn client_that_rejects_one_resource_gets_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut snapshot = Snapshot::new();
    for name in ["a", "bad", "c"] {
        snapshot.insert(Listener, Resource::new(Listener, name, b"1"));
    }
    let stand = Stand::start(dir.path(), One::new(View::new(snapshot)));
    let store = Store::default();
    store.with(|state| state.refuse = Some("bad".into()));
    let _client = store.follow(&stand.sock);
    until("the others", || store.with(|state| state.held.len() == 2)).await;
    let refused = |event: &Event<EnvoyType>| match event {
        Event::Nacked { names, detail, .. } => *names == ["bad".into()] && detail == "bad: not to my taste",
        _ => false,
    };
    until("the event", || stand.source.heard().events.iter().any(|(_, event)| refused(event))).await;
    let upsert = vec![(Listener, Resource::new(Listener, "bad", b"2"))];
    store.with(|state| state.refuse = None);
    stand.source.view.set_watermark("w2".into());
    stand.source.view.apply(Changes { upsert, remove: vec![] });
    until("the repaired one", || store.with(|state| state.held.len() == 3)).await;
    assert_eq!(store.with(|state| state.watermark.clone()).as_deref(), Some("w2"));
    stand.stop().await;
}

#[tokio::test]
async fn sockets_of_both_kinds_are_served_until_the_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let sock = dir.path().join("xds.sock");
    let source = Arc::new(One::new(View::new(clusters(1, 10))));
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", tcp.local_addr().unwrap()).parse().unwrap();
    let unix = tokio::net::UnixListener::bind(&sock).unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(());
    let ended = |mut stopped: tokio::sync::watch::Receiver<()>| async move { drop(stopped.changed().await) };
    let (mut servers, mut clients) = (JoinSet::new(), JoinSet::new());
    let shared = || routes(source.clone(), Limits::default());
    servers.spawn(serve_tcp(tcp, shared(), ended(stopped.clone())));
    servers.spawn(serve_unix(unix, shared(), ended(stopped)));
    let stores = [Store::default(), Store::default()];
    for (store, connect) in stores.iter().zip([Connect::Uri(uri), Connect::Unix(sock)]) {
        clients.spawn(run(connect, store.clone(), std::future::pending()));
    }
    until("both clients", || stores.iter().all(|store| store.with(|state| state.held.len() == 2))).await;
    assert_eq!(source.heard().hellos.iter().filter(|hello| hello.peer.remote.is_some()).count(), 1);
    stop.send_replace(());
    let ends = within("the servers' ends", servers.join_all()).await;
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    until("both losses", || stores.iter().all(|store| store.with(|state| state.losses == 1))).await;
}

#[tokio::test]
async fn client_waits_for_a_server_that_is_not_there_yet() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::default();
    let _client = store.follow(&dir.path().join("xds.sock"));
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1, 10))));
    until("the resources", || store.with(|state| state.held.len() == 2)).await;
    assert!(store.with(|state| state.connected));
    stand.stop().await;
}
