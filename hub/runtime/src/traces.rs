//! Sends spans to an OpenTelemetry collector ([`Traces`]). Without a collector's address no span is built.
//!
//! A trace's id follows from the object's uid and the content hash of its Plan ([`TraceId::of`]), which hub and agents both
//! know. A span's id follows from its step and place ([`SpanId::of`]). So a process can name another process's span as a
//! parent, and no id is sent between them.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::otlp::{Client, Endpoint};
use crate::{Shutdown, Tasks};

pub use crate::span::{CHANGE, Span, SpanId, Step, TraceId};

/// Spans that may wait for the collector. Further spans are dropped.
const WAITING: usize = 4096;

/// Most spans of one request.
const BATCH: usize = 512;

/// How long spans are collected for one request.
const GATHER: Duration = Duration::from_millis(500);

/// How long the last request may take at the shutdown.
const FAREWELL: Duration = Duration::from_secs(1);

/// The way of spans to the collector. Clones share it. By default spans are dropped.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    out: Option<mpsc::Sender<Span>>,
}

// === impl Traces ===

impl Traces {
    /// Sends spans to `endpoint`, if given, in a task of `tasks`. `component` and `instance` become the service's name and
    /// instance. If the collector is unavailable, its spans are lost and the next ones try again.
    pub fn spawn(
        tasks: &mut Tasks,
        component: &'static str,
        instance: String,
        endpoint: Option<Endpoint>,
        shutdown: &Shutdown,
    ) -> Self {
        let Some(endpoint) = endpoint else { return Self::default() };
        let (this, spans) = Self::channel();
        let client = move || Client::new(&endpoint, component, &instance);
        tasks.spawn_graceful("traces", run(client, spans, shutdown.waiter()));
        this
    }

    /// Returns traces whose spans go to the returned receiver.
    pub fn channel() -> (Self, mpsc::Receiver<Span>) {
        let (out, spans) = mpsc::channel(WAITING);
        (Self { out: Some(out) }, spans)
    }

    /// Whether spans have a receiver. Callers need not build them otherwise.
    pub fn is_on(&self) -> bool {
        self.out.is_some()
    }

    /// Queues a span without waiting. If the queue is full, the span is lost.
    pub fn tell(&self, span: Span) {
        if let Some(out) = &self.out {
            // If it is full, the collector is slower than the changes, which must not wait for it.
            let _ = out.try_send(span);
        }
    }
}

async fn run(
    client: impl FnOnce() -> Client,
    mut spans: mpsc::Receiver<Span>,
    until: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (mut client, mut batch) = (client(), Vec::new());
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => break,
            count = spans.recv_many(&mut batch, 1) => if count == 0 { return Ok(()) },
        }
        tokio::select! {
            () = &mut until => break,
            () = tokio::time::sleep(GATHER) => {}
        }
        while batch.len() < BATCH
            && let Ok(span) = spans.try_recv()
        {
            batch.push(span);
        }
        client.send(std::mem::take(&mut batch)).await;
    }
    while let Ok(span) = spans.try_recv() {
        batch.push(span);
    }
    // Spans that are not sent by then are lost.
    let _ = tokio::time::timeout(FAREWELL, client.send(batch)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn spans_need_a_collector_and_never_wait_for_a_slow_one() {
        let now = SystemTime::UNIX_EPOCH;
        let span = || {
            Span::new(TraceId::of("a", 1), None, Step { name: "apply", place: "", begun: now, ended: now })
        };
        let off = Traces::default();
        off.tell(span());
        assert!(!off.is_on());
        let (out, mut spans) = mpsc::channel(1);
        let on = Traces { out: Some(out) };
        on.tell(span().with("node", "n1"));
        on.tell(span());
        assert!(on.is_on());
        assert_eq!(spans.try_recv().map(|span| span.attributes.len()), Ok(1));
        assert!(spans.try_recv().is_err());
    }
}
