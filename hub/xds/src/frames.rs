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

/// A piece is sent when it is at least this long, bytes.
const PIECE: usize = 16 * 1024;

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
    left: usize,
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
        let mut piece = BytesMut::new();
        if self.writing.is_none() {
            let response = match ready!(Pin::new(&mut self.responses).poll_next(cx)) {
                Some(Ok(response)) => response,
                ended => {
                    self.ended = true;
                    let status = ended.and_then(Result::err).unwrap_or_else(|| Status::ok(""));
                    return Poll::Ready(Some(trailers(&status)));
                }
            };
            self.writing = Some(Writing::start(response, &mut piece)?);
        }
        if let Some(writing) = &mut self.writing
            && !writing.fill(&mut piece)
        {
            self.writing = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece.freeze()))))
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut headers = http::HeaderMap::new();
    status.add_header(&mut headers)?;
    Ok(Frame::trailers(headers))
}

// === impl Writing ===

impl<T: ResourceType> Writing<T> {
    fn start(response: Response<T>, piece: &mut BytesMut) -> Result<Self, Status> {
        let left = encoded_len(&response);
        let length = u32::try_from(left).map_err(|_| Status::out_of_range("a response over 4 GiB"))?;
        piece.reserve(PREFIX + left.min(PIECE));
        piece.put_u8(0);
        piece.put_u32(length);
        Ok(Self { response, writer: Writer::default(), left })
    }

    /// Writes about one piece. Returns whether there is more.
    fn fill(&mut self, piece: &mut BytesMut) -> bool {
        let before = piece.len();
        piece.reserve(self.left.min(PIECE));
        let mut more = true;
        while more && piece.len() < PIECE {
            more = self.writer.write_piece(&self.response, piece);
        }
        self.left = self.left.saturating_sub(piece.len() - before);
        more
    }
}
