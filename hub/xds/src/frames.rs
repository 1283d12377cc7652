//! Responses as the body of a gRPC call ([`Frames`]), in pieces of some kilobytes.
//!
//! A full push of a thousand clusters has half a megabyte. It is encoded as the connection takes it, so that fifty clients
//! cost fifty pieces of memory (measured: 40 MB resident when each response was encoded as a whole).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use http_body::{Body, Frame};
use tonic::Status;

use crate::encode::{Writer, encoded_len};
use crate::message::Response;
use crate::resource::ResourceType;
use crate::spanned::Spanned;

/// The longest frame, bytes, unless a resource is longer: HTTP/2's, so that none is sent as two.
const FRAME: usize = 64 * 1024;

/// The connection writes after this number of frames. HTTP/2 would take twenty before it writes the first.
const BURST: usize = 1;

/// gRPC's prefix of a message: a flag (not compressed) and the length.
const PREFIX: usize = 5;

/// The responses of a call.
pub(crate) type Responses<T> = Spanned<dyn Stream<Item = Result<Response<T>, Status>> + Send>;

/// The body of a call: messages, then the status in the trailers.
pub(crate) struct Frames<T> {
    responses: Responses<T>,
    writing: Option<Writing<T>>,
    ended: bool,
}

/// A response that is partly written.
struct Writing<T> {
    response: Response<T>,
    writer: Writer,
    /// Frames since the connection could write.
    unwritten: usize,
}

// === impl Frames ===

impl<T> Frames<T> {
    pub(crate) fn new(responses: Responses<T>) -> Self {
        Self { responses, writing: None, ended: false }
    }
}

/// The stream is boxed, so no field is pinned in place.
impl<T> Unpin for Frames<T> {}

impl<T: ResourceType> Body for Frames<T> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.writing.as_mut().is_some_and(Writing::pauses) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut frame = BytesMut::new();
        if self.writing.is_none() {
            let response = match ready!(Pin::new(&mut self.responses).poll_next(cx)) {
                Some(Ok(response)) => response,
                ended => {
                    self.ended = true;
                    let status = ended.and_then(Result::err).unwrap_or_else(|| Status::ok(""));
                    return Poll::Ready(Some(trailers(&status)));
                }
            };
            self.writing = Some(Writing::start(response, &mut frame)?);
        }
        if let Some(writing) = &mut self.writing
            && !writing.fill(&mut frame)
        {
            self.writing = None;
        }
        Poll::Ready(Some(Ok(Frame::data(frame.freeze()))))
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut headers = http::HeaderMap::new();
    status.add_header(&mut headers)?;
    Ok(Frame::trailers(headers))
}

// === impl Writing ===

impl<T: ResourceType> Writing<T> {
    fn start(response: Response<T>, frame: &mut BytesMut) -> Result<Self, Status> {
        let length = u32::try_from(encoded_len(&response))
            .map_err(|_| Status::out_of_range("a response over 4 GiB"))?;
        let writer = Writer::default();
        let (_, size) = writer.that_fit(&response, FRAME - PREFIX);
        frame.reserve(PREFIX + size);
        frame.put_u8(0);
        frame.put_u32(length);
        Ok(Self { response, writer, unwritten: 1 })
    }

    /// Whether the connection is to write before it takes the next frame.
    fn pauses(&mut self) -> bool {
        let pauses = self.unwritten == BURST;
        self.unwritten = if pauses { 0 } else { self.unwritten + 1 };
        pauses
    }

    /// Writes one frame. Returns whether there is more.
    fn fill(&mut self, frame: &mut BytesMut) -> bool {
        let (count, size) = self.writer.that_fit(&self.response, FRAME - frame.len());
        // A buffer that grows is copied to new memory, which the allocator has given back to the system after the last one.
        frame.reserve(size);
        (0..count).all(|_| self.writer.write_piece(&self.response, frame))
    }
}
