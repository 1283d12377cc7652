//! One stream of the server, driven by whoever reads its responses: nothing is made before it can be sent.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use tonic::{Status, Streaming};

use crate::budget::Share;
use crate::limits::{Limits, Permit};
use crate::message::Response;
use crate::resource::ResourceType;
use crate::source::{Hello, Source, StreamGuard, StreamInfo};
use crate::watch::Watch;
use crate::wire::Incoming;

/// A stream from its headers to its end.
pub(crate) enum Stream<T: ResourceType, S: Source<T>> {
    /// The first request or the view is missing.
    Opening(Box<Opening<T, S>>),
    Running(Box<Running<T, S>>),
    Ended,
}

/// What a stream starts with.
pub(crate) struct Opening<T, S> {
    pub(crate) source: Arc<S>,
    pub(crate) limits: Limits,
    pub(crate) only: Option<T>,
    pub(crate) hello: Hello,
    pub(crate) inbound: Streaming<Incoming<T>>,
    pub(crate) held: Held,
}

/// What a stream holds until its end.
pub(crate) type Held = (Permit, StreamGuard);

/// A stream on its view.
pub(crate) struct Running<T: ResourceType, S: Source<T>> {
    inbound: Streaming<Incoming<T>>,
    watch: Watch<T>,
    told: Told<T, S>,
    until: Option<Instant>,
    share: Share,
    _held: Held,
}

/// Tells the source of the stream's end, however it ends.
struct Told<T: ResourceType, S: Source<T>> {
    source: Arc<S>,
    info: StreamInfo,
    types: std::marker::PhantomData<T>,
}

impl<T: ResourceType, S: Source<T>> Drop for Told<T, S> {
    fn drop(&mut self) {
        self.source.closed(&self.info);
    }
}

// === impl Stream ===

impl<T: ResourceType, S: Source<T>> Stream<T, S> {
    /// The next response and the stream behind it; `None` ends the stream.
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
    /// Waits for the first request and for its view; `None` if the client left before.
    async fn open(mut self) -> Result<Option<Box<Running<T, S>>>, Status> {
        let first = tokio::time::timeout(self.limits.first_request, self.inbound.message());
        let first = first.await.map_err(|_| Status::deadline_exceeded("no request came"))?;
        let Some(mut first) = first? else { return Ok(None) };
        self.hello.fresh = first.request.begins_anew();
        self.hello.node = first.request.node.take().unwrap_or_default();
        let Hello { stream: id, node, peer, variant, .. } = self.hello.clone();
        let source = self.source;
        let view = source.open(self.hello).await?;
        let info = StreamInfo { id, node, peer, variant };
        let told = Told { source, info, types: std::marker::PhantomData };
        let watch = Watch::new(view, variant, self.only);
        let until = told.source.until(&told.info);
        let share = Share::new(self.limits.load, told.source.budget(&told.info));
        let mut running = Running { inbound: self.inbound, watch, told, until, share, _held: self.held };
        running.take_in(first)?;
        Ok(Some(Box::new(running)))
    }
}

// === impl Running ===

impl<T: ResourceType, S: Source<T>> Running<T, S> {
    /// Waits until there is something to say; `None` when the client has ended its side.
    ///
    /// Requests come before responses, so that a wave of changes can't keep a subscription waiting.
    async fn next(&mut self) -> Result<Option<Response<T>>, Status> {
        loop {
            while let Some(request) = self.inbound.message().now_or_never() {
                let Some(request) = request? else { return Ok(None) };
                self.take_in(request)?;
            }
            if let Some(reason) = self.watch.closed() {
                return Err(Status::unavailable(&*reason));
            }
            if self.until.is_some_and(|until| until <= Instant::now()) {
                return Err(Status::unavailable(
                    "the stream's credentials have expired: come again with newer ones",
                ));
            }
            if let Some(response) = self.watch.next(Instant::now()) {
                return Ok(Some(response));
            }
            let Some(request) = self.wait().await? else { continue };
            let Some(request) = request else { return Ok(None) };
            self.take_in(request)?;
        }
    }

    /// Waits for a request, a change or the clock; returns what the inbound side gave.
    async fn wait(&mut self) -> Result<Option<Option<Incoming<T>>>, Status> {
        let deadline = [self.watch.deadline(), self.until].into_iter().flatten().min();
        let clock = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            request = self.inbound.message() => request.map(Some),
            () = poll_fn(|cx| self.watch.poll_changed(cx)) => Ok(None),
            () = clock => Ok(None),
        }
    }

    /// Takes in one request. A peer that has the server remember too much loses the stream, and with it all of that.
    fn take_in(&mut self, incoming: Incoming<T>) -> Result<(), Status> {
        let taken = incoming.excess.map_or(Ok(()), Err).and_then(|()| {
            self.watch.request(incoming.request, Instant::now());
            for event in self.watch.events() {
                self.told.source.event(&self.told.info, &event);
            }
            self.watch.check()?;
            self.share.set(self.watch.load().plus(self.told.info.node.load()))
        });
        taken.map_err(|text| {
            self.told.source.exhausted(&self.told.info, &text);
            Status::resource_exhausted(text)
        })
    }
}
