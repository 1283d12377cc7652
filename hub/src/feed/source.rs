//! The feed as the source of its agents' streams.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use portreeve_api::PlanType;
use portreeve_api::names::{PROXY_NAMES_KEY, WATERMARK_KEY};
use portreeve_api::proxy_names;
use portreeve_xds::{Event, Hello, Source, StreamGuard, StreamInfo, View};
use tonic::Status;

use super::audience::Audience;
use super::seats::Of;
use super::{Feed, Inner, Stream};
use crate::auth::Pass;
use crate::watermark::Watermark;

/// How long an agent that has seen newer state than this hub is kept waiting before it is sent to another hub.
const CATCH_UP: Duration = Duration::from_secs(2);

// === impl Feed ===

impl Feed {
    pub(super) fn attach(&self, of: Of, stream: u64, pass: Pass) -> Arc<View<PlanType>> {
        let mut inner = self.lock();
        inner.streams.insert(stream, Stream { of: of.clone(), pass });
        let Inner { index, seats, .. } = &mut *inner;
        seats.open(of, index, self.watermark())
    }

    /// Takes in the names of the node's proxies, so that the first response has their Plans.
    fn take_names(&self, hello: &Hello) -> Result<(), Status> {
        let Some(text) = hello.node.metadata.get(PROXY_NAMES_KEY) else { return Ok(()) };
        let names = proxy_names::parse(text)
            .map_err(|error| Status::invalid_argument(format!("{PROXY_NAMES_KEY}: {error}")))?;
        self.load(|index, now_ms| index.add_announced(&hello.node.id.as_str().into(), names, now_ms));
        Ok(())
    }

    async fn catch_up(&self, hello: &Hello) -> Result<(), Status> {
        let text = hello.node.metadata.get(WATERMARK_KEY).map(String::as_str).unwrap_or_default();
        let wanted: Watermark =
            text.parse().map_err(|e| Status::invalid_argument(format!("watermark: {e}")))?;
        let mut seen = self.seen.subscribe();
        let caught_up = seen.wait_for(|mark| mark.covers(&wanted));
        match tokio::time::timeout(CATCH_UP, caught_up).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let mine = self.seen.borrow().clone();
                Err(Status::unavailable(format!(
                    "this hub has seen {mine}, the agent {wanted}: ask another replica"
                )))
            }
        }
    }
}

impl Source<PlanType> for Feed {
    fn glance(&self, headers: &http::HeaderMap) -> Result<(), Status> {
        self.door.glance(headers)
    }

    async fn ready(&self) {
        self.readiness.ready().await;
    }

    async fn open(&self, hello: Hello) -> Result<Arc<View<PlanType>>, Status> {
        if hello.node.id.is_empty() {
            return Err(Status::invalid_argument("the agent's node.id is empty: it must be its node's name"));
        }
        let pass = self.door.admit(&hello.headers, &hello.node.id).await?;
        self.readiness.ready().await;
        self.catch_up(&hello).await?;
        self.take_names(&hello)?;
        tracing::info!(node = hello.node.id, "agent connected");
        let of = (hello.node.id.as_str().into(), Audience::of(&hello.node));
        Ok(self.attach(of, hello.stream, pass))
    }

    async fn turn(&self) -> StreamGuard {
        Box::new(self.turns.clone().acquire_owned().await)
    }

    fn event(&self, stream: &StreamInfo, event: &Event<PlanType>) {
        if let Event::Nacked { names, detail, .. } = event {
            tracing::warn!(node = stream.node.id, ?names, error = detail, "agent refused resources");
        }
    }

    fn exhausted(&self, stream: &StreamInfo, text: &str) {
        self.exhausted.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(node = stream.node.id, error = text, "an agent's stream is ended");
    }

    fn closed(&self, stream: &StreamInfo) {
        let mut inner = self.lock();
        let Some(Stream { of, .. }) = inner.streams.remove(&stream.id) else { return };
        if !inner.streams.values().any(|one| one.of == of) {
            let Inner { index, seats, .. } = &mut *inner;
            seats.close(&of, index);
        }
        tracing::info!(node = &*of.0, "agent disconnected");
    }

    fn until(&self, stream: &StreamInfo) -> Option<Instant> {
        let inner = self.lock();
        let Stream { pass, .. } = inner.streams.get(&stream.id)?;
        pass.until.map(tokio::time::Instant::into_std)
    }
}
