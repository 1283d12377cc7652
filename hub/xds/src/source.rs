//! The owner of the views that a server serves ([`Source`]), and what it learns about each stream.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tonic::Status;

use crate::budget::Budget;
use crate::message::{Event, Node, Variant};
use crate::peer::Peer;
use crate::resource::ResourceType;
use crate::view::View;

/// A value that a source keeps alive as long as a stream. It is dropped when the stream ends.
pub type StreamGuard = Box<dyn Any + Send>;

/// Provides the views of streams and receives their events.
pub trait Source<T: ResourceType>: Send + Sync + 'static {
    /// Checks a call's headers before its body is read, so that a refused call costs no memory.
    ///
    /// # Errors
    /// The status that ends the call.
    fn glance(&self, _headers: &http::HeaderMap) -> Result<(), Status> {
        Ok(())
    }

    /// Admits a peer's stream before its first request is read, so that a refused stream costs only the answer.
    ///
    /// # Errors
    /// The status that ends the call.
    fn admit(&self, _peer: &Peer) -> Result<StreamGuard, Status> {
        Ok(Box::new(()))
    }

    /// Waits until there may be views. No stream's first request is read before: what returning clients claim takes memory.
    fn ready(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Returns the view of a new stream after its first request. The stream gets no response until this future is ready:
    /// it may wait until the view's state is complete. An error ends the stream with that status.
    fn open(&self, hello: Hello) -> impl Future<Output = Result<Arc<View<T>>, Status>> + Send;

    /// Waits until a stream may send very much: its first response to a client without resources, or most resources again, because
    /// that many have changed. What is returned is dropped when the client has answered all that it was sent, but at most 5 s
    /// later. A source with very many clients lets few of them send so much at a time, because that takes memory. Changes of
    /// [urgent](ResourceType::urgent) types don't wait.
    fn turn(&self) -> impl Future<Output = StreamGuard> + Send {
        std::future::ready(Box::new(()) as StreamGuard)
    }

    /// Receives an ACK, a NACK or the first request for an unknown type. It runs on the stream's task and must not block.
    fn event(&self, stream: &StreamInfo, event: &Event<T>);

    /// Called once when a stream that was opened has ended.
    fn closed(&self, stream: &StreamInfo);

    /// Returns the budget that an opened stream shares with the peer's other streams. Called once per stream. With `None`
    /// only the stream's own limit ([`Limits::load`](crate::Limits::load)) applies.
    fn budget(&self, _stream: &StreamInfo) -> Option<Arc<Budget>> {
        None
    }

    /// Called when a stream ends because it asked for more names than it may. `text` tells the numbers.
    fn exhausted(&self, _stream: &StreamInfo, _text: &str) {}

    /// Returns when an opened stream must end, such as when its credentials expire. Called once per stream. The stream
    /// ends with UNAVAILABLE, so that the client connects again.
    fn until(&self, _stream: &StreamInfo) -> Option<Instant> {
        None
    }
}

/// A stream that asks for its view.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Number of the stream, unique in this process.
    pub stream: u64,
    /// The node of the first request, whatever type that request is about.
    pub node: Node,
    /// The connection's other end.
    pub peer: Peer,
    /// The variant that the client chose.
    pub variant: Variant,
    /// The call's headers, such as `authorization`.
    pub headers: http::HeaderMap,
    /// Whether the client uses aggregated discovery. Otherwise the stream has resources of one type.
    pub aggregated: bool,
    /// The call's authority. Envoy sends the name of its own cluster through which it reaches this server.
    pub authority: Option<String>,
    /// The client has no resources yet, see [`Request::begins_anew`](crate::Request::begins_anew). This is never so on a
    /// stream of a type that clients only ask for by name: such streams begin at any time.
    pub fresh: bool,
}

/// An opened stream.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// Number of the stream, unique in this process.
    pub id: u64,
    /// The node of the first request.
    pub node: Node,
    /// The connection's other end.
    pub peer: Peer,
    /// The variant that the client chose.
    pub variant: Variant,
}
