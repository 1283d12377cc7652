//! The span around each stream: a source's log lines carry the peer and the stream's number.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use portreeve_xds::EnvoyType::Cluster;
use portreeve_xds::{
    EnvoyType, Event, Hello, Keepalive, Limits, Source, StreamInfo, View, routes, serve_incoming,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;

use crate::stand::{Caller, clusters, subscribe, until};

/// A source that logs each step of a stream.
struct Logging(Arc<View<EnvoyType>>);

impl Source<EnvoyType> for Logging {
    async fn open(&self, _hello: Hello) -> Result<Arc<View<EnvoyType>>, Status> {
        tracing::info!("opened");
        Ok(self.0.clone())
    }

    fn event(&self, _stream: &StreamInfo, _event: &Event<EnvoyType>) {
        tracing::info!("event");
    }

    fn closed(&self, _stream: &StreamInfo) {
        tracing::info!("closed");
    }
}

/// A writer that keeps the log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The span of the lines with this message.
    fn spans(&self, message: &str) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter_map(|line| line.strip_suffix(message));
        lines
            .filter_map(|line| line.trim().strip_prefix("INFO "))
            .map(|span| span.trim().to_owned())
            .collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The runtime has one thread, so the thread's subscriber gets all log lines.
#[tokio::test]
async fn log_lines_of_a_stream_carry_its_peer_and_number_from_opening_to_end() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let dir = tempfile::tempdir().unwrap();
    let sock = dir.path().join("xds.sock");
    let incoming = UnixListenerStream::new(UnixListener::bind(&sock).unwrap());
    let routes = routes(Arc::new(Logging(View::new(clusters(1, 10)))), Limits::default());
    let mut server = tokio::task::JoinSet::new();
    server.spawn(serve_incoming(incoming, routes, Keepalive::default(), std::future::pending()));
    for stream in 1..=2 {
        let mut caller = Caller::ads(&sock).await;
        caller.send(subscribe(Cluster, &["*".into()])).await;
        caller.acked().await;
        let span = format!("xds{{peer=pid:{} stream={stream}}}:", std::process::id());
        until("the ACK", || log.spans("event").len() == stream).await;
        drop(caller);
        until("the stream's end", || log.spans("closed").len() == stream).await;
        for message in ["opened", "event", "closed"] {
            assert_eq!(log.spans(message).last(), Some(&span), "{message}:\n{}", log.text());
        }
    }
}
