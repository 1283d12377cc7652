//! A stream that is polled and dropped inside a tracing span ([`Spanned`]).
//!
//! `tracing::Instrument` does this for futures. Instrumenting the future of each response would clone the span each time.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tracing::Span;

/// A stream whose log lines carry a span, those of its end included.
pub(crate) struct Spanned<S: ?Sized> {
    span: Span,
    /// `None` only while this is dropped.
    stream: Option<Pin<Box<S>>>,
}

// === impl Spanned ===

impl<S: ?Sized> Spanned<S> {
    pub(crate) fn new(span: Span, stream: Pin<Box<S>>) -> Self {
        Self { span, stream: Some(stream) }
    }
}

impl<S: Stream + ?Sized> Stream for Spanned<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let Self { span, stream } = &mut *self;
        let _entered = span.enter();
        stream.as_mut().map_or(Poll::Ready(None), |stream| stream.as_mut().poll_next(cx))
    }
}

impl<S: ?Sized> Drop for Spanned<S> {
    fn drop(&mut self) {
        let _entered = self.span.enter();
        self.stream = None;
    }
}
