//! Gates for connections and admission of streams, and the values held for each of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use portreeve_xds::EnvoyType::Cluster;
use portreeve_xds::{
    EnvoyType, Event, Gate, Hello, Limits, Pass, Peer, Source, StreamGuard, StreamInfo, View, routes,
    serve_unix_gated,
};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::stand::{ADS_DELTA, Caller, One, clusters, subscribe, until, within};

/// A source that admits one stream at a time and counts the held values.
struct Strict {
    one: One,
    streams: Arc<AtomicUsize>,
}

/// Counted while it is held.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Source<EnvoyType> for Strict {
    fn admit(&self, peer: &Peer) -> Result<StreamGuard, Status> {
        assert!(peer.pass.is_some());
        match self.streams.load(Ordering::SeqCst) {
            0 => Ok(Box::new(Held::new(&self.streams))),
            _ => Err(Status::permission_denied("one is enough")),
        }
    }

    async fn open(&self, hello: Hello) -> Result<Arc<View<EnvoyType>>, Status> {
        self.one.open(hello).await
    }

    fn event(&self, stream: &StreamInfo, event: &Event<EnvoyType>) {
        self.one.event(stream, event);
    }

    fn closed(&self, stream: &StreamInfo) {
        self.one.closed(stream);
    }
}

/// A served socket, and the count of values held for it.
struct Gated {
    sock: PathBuf,
    source: Arc<Strict>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Gated {
    fn start(dir: &Path) -> Self {
        let sock = dir.join("gated.sock");
        let listener = UnixListener::bind(&sock).unwrap_or_else(|error| panic!("bind: {error}"));
        let one = One::new(View::new(clusters(1, 10)));
        let source = Arc::new(Strict { one, streams: Arc::default() });
        let connections = Arc::<AtomicUsize>::default();
        let open = Arc::new(AtomicBool::new(true));
        let (count, door) = (connections.clone(), open.clone());
        let gate: Gate = Arc::new(move |peer| {
            assert!(peer.pidfd.is_some() || peer.pid.is_some());
            door.load(Ordering::SeqCst).then(|| Arc::new(Held::new(&count)) as Pass)
        });
        let routes = routes(source.clone(), Limits::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let served = serve_unix_gated(listener, gate, routes, std::future::pending()).await;
            assert!(served.is_ok(), "{served:?}");
        });
        Self { sock, source, connections, open, _tasks: tasks }
    }
}

#[tokio::test]
async fn connection_that_the_gate_refuses_is_closed_and_the_next_one_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let gated = Gated::start(dir.path());
    gated.open.store(false, Ordering::SeqCst);
    let mut turned_away = UnixStream::connect(&gated.sock).await.unwrap();
    let end = within("the end", turned_away.read(&mut [0; 64])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    gated.open.store(true, Ordering::SeqCst);
    let mut caller = Caller::ads(&gated.sock).await;
    caller.send(subscribe(Cluster, &[])).await;
    caller.acked().await;
    let peer = gated.source.one.heard().hellos.remove(0).peer;
    assert_eq!(peer.pid, Some(std::process::id() as i32));
    assert!(peer.pass.is_some_and(|pass| pass.downcast::<Held>().is_ok()));
}

#[tokio::test]
async fn values_held_for_connections_and_streams_are_dropped_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let gated = Gated::start(dir.path());
    let held = || (gated.connections.load(Ordering::SeqCst), gated.source.streams.load(Ordering::SeqCst));
    // The guard is taken before the first request, so a silent stream counts as well.
    let silent = Caller::ads(&gated.sock).await;
    assert_eq!(held(), (1, 1));
    let refused = Caller::path(&gated.sock, ADS_DELTA).await.err().unwrap();
    assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "one is enough"));
    until("the end of the refused one's connection", || held() == (1, 1)).await;
    drop(silent);
    until("the end of the silent one", || held() == (0, 0)).await;
    let mut third = Caller::ads(&gated.sock).await;
    third.send(subscribe(Cluster, &[])).await;
    third.acked().await;
    drop(third);
    // A peer that the source keeps also keeps the connection's pass.
    gated.source.one.heard.lock().unwrap().hellos.clear();
    until("the end of the third", || held() == (0, 0)).await;
}
