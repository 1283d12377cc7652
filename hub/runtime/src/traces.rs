//! Spans for an OpenTelemetry collector ([`Traces`]), for those who give one by a flag; without it a span is not even made.
//!
//! Whose trace a span belongs to follows from what both sides know: the object's uid and the content hash of its Plan
//! ([`TraceId::of`]). So hub and agents need no word for it between them, and whoever made a span can be named as a parent
//! by what it did and where ([`SpanId::of`]).

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::otlp::{Client, Endpoint};
use crate::{Shutdown, Tasks};

pub use crate::span::{CHANGE, Span, SpanId, TraceId};

/// Spans that wait for their way out at most; what is more is left out.
const WAITING: usize = 4096;

/// Spans of one request at most.
const BATCH: usize = 512;

/// How long spans are gathered.
const GATHER: Duration = Duration::from_millis(500);

/// How long the collector may take at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where spans go; clones are the same. By default nowhere.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    out: Option<mpsc::Sender<Span>>,
}

// === impl Traces ===

impl Traces {
    /// Sends spans to `endpoint`, if there is one, in a task of `tasks`. `component` and `instance` are the service's name and
    /// instance there.
    ///
    /// # Errors
    /// None: a collector that is away is tried again with the next spans, and those that it did not take are lost.
    pub fn spawn(
        tasks: &mut Tasks,
        (component, instance): (&'static str, String),
        endpoint: Option<Endpoint>,
        shutdown: &Shutdown,
    ) -> Self {
        let Some(endpoint) = endpoint else { return Self::default() };
        let (this, spans) = Self::channel();
        let client = move || Client::new(&endpoint, component, &instance);
        tasks.spawn_graceful("traces", run(client, spans, shutdown.waiter()));
        this
    }

    /// Gives spans to whoever has the other end.
    pub fn channel() -> (Self, mpsc::Receiver<Span>) {
        let (out, spans) = mpsc::channel(WAITING);
        (Self { out: Some(out) }, spans)
    }

    /// Whether somebody wants spans.
    pub fn is_on(&self) -> bool {
        self.out.is_some()
    }

    /// Sends a span on its way, without waiting.
    pub fn tell(&self, span: Span) {
        if let Some(out) = &self.out {
            // Full: the collector is slower than the changes, which must not wait for it.
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
    // What is not taken by then is lost.
    let _ = tokio::time::timeout(FAREWELL, client.send(batch)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn nobody_is_told_anything_without_a_collector_and_nobody_waits_for_a_slow_one() {
        let now = SystemTime::UNIX_EPOCH;
        let span = || Span::new((TraceId::of("a", 1), None), ("apply", ""), (now, now));
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
