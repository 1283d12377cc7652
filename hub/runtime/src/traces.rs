//! Spans for an OpenTelemetry collector ([`Traces`]), for those who give one by a flag; without it a span is not even made.
//!
//! Whose trace a span belongs to follows from what both sides know: the object's uid and the content hash of its Plan
//! ([`TraceId::of`]). So hub and agents need no word for it between them, and whoever made a span can be named as a parent
//! by what it did and where ([`SpanId::of`]).

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::otlp::{Client, Endpoint};
use crate::{Shutdown, Tasks};

/// Spans that wait for their way out at most; what is more is left out.
const WAITING: usize = 4096;

/// Spans of one request at most.
const BATCH: usize = 512;

/// What the whole of a change is called.
pub const CHANGE: &str = "change";

/// How long spans are gathered.
const GATHER: Duration = Duration::from_millis(500);

/// How long the collector may take at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where spans go; clones are the same. By default nowhere.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    out: Option<mpsc::Sender<Span>>,
}

/// The way of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// One step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// What took how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Whose.
    pub trace: TraceId,
    /// Which.
    pub id: SpanId,
    /// What it is a part of; none: it is the whole.
    pub parent: Option<SpanId>,
    /// What was done.
    pub name: &'static str,
    /// When it began.
    pub begun: SystemTime,
    /// When it was done.
    pub ended: SystemTime,
    /// What else there is to say.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

// === impl TraceId ===

impl TraceId {
    /// The trace of the change that gave the object with this uid this Plan. An edit that leaves the Plan as it is has none,
    /// and one that brings an earlier Plan back has the earlier one's.
    pub fn of(uid: &str, plan: u64) -> Self {
        Self(xxh3_128(format!("{uid} {plan:016x}").as_bytes()).to_be_bytes())
    }
}

// === impl SpanId ===

impl SpanId {
    /// What was done `name`d so in a trace at a place: a hub, a node, a proxy; empty for what is done once.
    pub fn of(trace: TraceId, name: &str, place: &str) -> Self {
        let text = format!("{:032x} {name} {place}", u128::from_be_bytes(trace.0));
        Self(xxh3_64(text.as_bytes()).to_be_bytes())
    }
}

impl TraceId {
    /// The whole change, of which all else is a part: told by the hub that leads.
    pub fn whole(self) -> SpanId {
        SpanId::of(self, CHANGE, "")
    }
}

// === impl Span ===

impl Span {
    /// What was done at a place, from then to then.
    pub fn new(
        (trace, parent): (TraceId, Option<SpanId>),
        (name, place): (&'static str, &str),
        (begun, ended): (SystemTime, SystemTime),
    ) -> Self {
        let id = SpanId::of(trace, name, place);
        Self { trace, id, parent, name, begun, ended, attributes: Vec::new(), failure: None }
    }

    /// With something else to say.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }
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
    use super::*;

    #[test]
    fn ids_are_of_what_they_name() {
        let one = TraceId::of("a", 1);
        assert_eq!(one, TraceId::of("a", 1));
        assert!(one != TraceId::of("a", 2) && one != TraceId::of("b", 1) && one.0 != [0; 16]);
        let step = SpanId::of(one, "apply", "n1");
        assert_eq!(step, SpanId::of(one, "apply", "n1"));
        let others = [(TraceId::of("a", 2), "apply", "n1"), (one, "send", "n1"), (one, "apply", "n2")];
        assert!(others.into_iter().all(|(trace, name, place)| SpanId::of(trace, name, place) != step));
    }

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
