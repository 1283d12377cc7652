//! One stream of the server ([`Stream`]). Reading its responses drives it: no response is built before it can be sent.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use tonic::Status;

use crate::budget::{self, Share};
use crate::encode::encoded_len;
use crate::limits::{Limits, Permit};
use crate::message::Response;
use crate::pace::Pace;
use crate::requests::Requests;
use crate::resource::ResourceType;
use crate::source::{Hello, Source, StreamGuard, StreamInfo};
use crate::turn::Turn;
use crate::watch::{Take, Watch};
use crate::wire::Incoming;

/// A stream from its headers to its end.
pub(crate) enum Stream<T: ResourceType, S: Source<T>> {
    /// It waits for the first request and the view.
    Opening(Box<Opening<T, S>>),
    Running(Box<Running<T, S>>),
    Ended,
}

/// A stream before its view is known.
pub(crate) struct Opening<T, S> {
    pub(crate) source: Arc<S>,
    pub(crate) limits: Limits,
    pub(crate) only: Option<T>,
    pub(crate) hello: Hello,
    pub(crate) inbound: Requests<T>,
    pub(crate) held: Held,
}

/// Held until the stream ends.
pub(crate) type Held = (Permit, StreamGuard);

/// A stream that watches its view.
pub(crate) struct Running<T: ResourceType, S: Source<T>> {
    inbound: Requests<T>,
    watch: Watch<T>,
    report: EndReport<T, S>,
    until: Option<Instant>,
    share: Share,
    pace: Pace,
    turn: Turn,
    held: Held,
}

/// Reports the stream's end to the source when dropped.
struct EndReport<T: ResourceType, S: Source<T>> {
    source: Arc<S>,
    info: StreamInfo,
    types: std::marker::PhantomData<T>,
}

impl<T: ResourceType, S: Source<T>> Drop for EndReport<T, S> {
    fn drop(&mut self) {
        self.source.closed(&self.info);
    }
}

// === impl Stream ===

impl<T: ResourceType, S: Source<T>> Stream<T, S> {
    /// Returns the next response and the stream after it; `None` ends the stream.
    pub(crate) async fn step(self) -> Option<(Result<Response<T>, Status>, Self)> {
        let running = match self {
            Self::Opening(opening) => opening.open().await,
            Self::Running(running) => Ok(Some(running)),
            Self::Ended => return None,
        };
        let mut running = match running {
            Ok(running) => running?,
            Err(status) => return Some((Err(status), Self::Ended)),
        };
        match running.next().await {
            Ok(response) => Some((Ok(response?), Self::Running(running))),
            Err(status) => Some((Err(status), Self::Ended)),
        }
    }
}

// === impl Opening ===

impl<T: ResourceType, S: Source<T>> Opening<T, S> {
    /// Waits for the first request and its view; `None` if the client left before.
    async fn open(mut self) -> Result<Option<Box<Running<T, S>>>, Status> {
        self.source.ready().await;
        let first = tokio::time::timeout(self.limits.first_request, self.inbound.message());
        let first =
            first.await.map_err(|_| Status::deadline_exceeded("the stream's first request is missing"))?;
        let Some(mut first) = first? else { return Ok(None) };
        let lists = self.only.is_none_or(T::legacy_wildcard);
        self.hello.fresh = lists && first.request.begins_anew();
        self.hello.node = first.request.node.take().unwrap_or_default();
        let Hello { stream: id, node, peer, variant, .. } = self.hello.clone();
        let source = self.source;
        let view = source.open(self.hello).await?;
        let info = StreamInfo { id, node, peer, variant };
        let report = EndReport { source, info, types: std::marker::PhantomData };
        let watch = Watch::new(view, variant, self.only);
        let until = report.source.until(&report.info);
        let share = Share::new(self.limits.load, report.source.budget(&report.info));
        // A client that comes back mostly has what it needs, and its claims take memory while they wait.
        let turn = match first.request.claims_nothing() {
            true => Turn::used(report.source.turn().await),
            false => Turn::Unasked,
        };
        let (inbound, held, pace) = (self.inbound, self.held, Pace::default());
        let mut running = Running { inbound, watch, report, until, share, pace, turn, held };
        running.handle(first)?;
        Ok(Some(Box::new(running)))
    }
}

// === impl Running ===

impl<T: ResourceType, S: Source<T>> Running<T, S> {
    /// Waits for the next response; `None` when the client has ended its side.
    ///
    /// Requests go before responses, so that a burst of changes can't delay a subscription.
    async fn next(&mut self) -> Result<Option<Response<T>>, Status> {
        loop {
            while let Some(request) = self.inbound.message().now_or_never() {
                let Some(request) = request? else { return Ok(None) };
                self.handle(request)?;
            }
            if let Some(reason) = self.watch.closed() {
                return Err(Status::unavailable(&*reason));
            }
            if self.until.is_some_and(|until| until <= Instant::now()) {
                return Err(Status::unavailable(
                    "the stream's credentials have expired: connect again with newer ones",
                ));
            }
            let now = Instant::now();
            if self.watch.is_idle() {
                self.turn.end();
            }
            let take = self.take(now);
            if let Some(response) = self.watch.respond(now, take) {
                // Turns limit what is sent in them. A client that was just sent everything gets the next change at once.
                if !self.turn.is_used() {
                    self.pace.sent(encoded_len(&response), self.held.0.open(), now);
                }
                return Ok(Some(response));
            }
            let Some(request) = self.wait().await? else { continue };
            let Some(request) = request else { return Ok(None) };
            self.handle(request)?;
        }
    }

    /// Returns which changes may be taken now. If there are very many, the stream asks for a turn.
    fn take(&mut self, now: Instant) -> Take {
        if self.pace.until(now).is_some() {
            return Take::Nothing;
        }
        let source = self.report.source.clone();
        self.turn.take(self.watch.is_far_behind(), || async move { source.turn().await })
    }

    /// Waits for a request, a change, the stream's turn or a deadline. Returns what the inbound side gave; `None` without a request.
    async fn wait(&mut self) -> Result<Option<Option<Incoming<T>>>, Status> {
        let waits = self.pace.until(Instant::now());
        let deadline = [self.watch.deadline(), self.until, waits].into_iter().flatten().min();
        let clock = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            request = self.inbound.message() => request.map(Some),
            () = poll_fn(|cx| self.watch.poll_changed(cx)), if waits.is_none() => Ok(None),
            () = self.turn.granted() => Ok(None),
            () = clock => Ok(None),
        }
    }

    /// Handles one request. If the peer makes the server remember too much, the stream ends and its names are forgotten.
    fn handle(&mut self, incoming: Incoming<T>) -> Result<(), Status> {
        let handled = incoming.excess.map_or(Ok(()), Err).and_then(|()| {
            self.watch.request(incoming.request, Instant::now());
            for event in self.watch.events() {
                self.report.source.event(&self.report.info, &event);
            }
            self.watch.check()?;
            self.share.set(self.watch.load().plus(budget::of_node(&self.report.info.node)))
        });
        handled.map_err(|text| {
            self.report.source.exhausted(&self.report.info, &text);
            Status::resource_exhausted(text)
        })
    }
}
