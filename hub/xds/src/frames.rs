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

/// The length of a frame, bytes, unless a single resource is longer. Clients of this crate take it whole; others have frames of
/// 16 kB, and HTTP/2 cuts it.
pub(crate) const FRAME: usize = 64 * 1024;

/// gRPC's prefix of a message: a flag (not compressed) and the length.
pub(crate) const PREFIX: usize = 5;

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
    /// gRPC's prefix, until it is written.
    prefix: Option<[u8; PREFIX]>,
    writer: Writer,
    /// A frame was taken, and the connection had no turn to write it since.
    unwritten: bool,
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
        let unwritten = self.writing.as_mut().map(|writing| std::mem::take(&mut writing.unwritten));
        if unwritten == Some(true) {
            // HTTP/2 would take a whole push before it writes: frames of memory that is never in the cache.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.writing.is_none() {
            let response = match ready!(Pin::new(&mut self.responses).poll_next(cx)) {
                Some(Ok(response)) => response,
                ended => {
                    self.ended = true;
                    let status = ended.and_then(Result::err).unwrap_or_else(|| Status::ok(""));
                    return Poll::Ready(Some(trailers(&status)));
                }
            };
            self.writing = Some(Writing::start(response)?);
        }
        let mut frame = BytesMut::new();
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
    fn start(response: Response<T>) -> Result<Self, Status> {
        let length = u32::try_from(encoded_len(&response))
            .map_err(|_| Status::out_of_range("a response over 4 GiB"))?;
        let [a, b, c, d] = length.to_be_bytes();
        Ok(Self { response, prefix: Some([0, a, b, c, d]), writer: Writer::default(), unwritten: false })
    }

    /// Writes one frame. Returns whether there is more.
    fn fill(&mut self, frame: &mut BytesMut) -> bool {
        let prefix = self.prefix.take();
        let prefix = prefix.as_ref().map_or(&[][..], |prefix| prefix);
        let (count, size) = self.writer.that_fit(&self.response, FRAME - prefix.len());
        // A buffer that grows is copied to new memory, which the allocator has given back to the system after the last one.
        frame.reserve(prefix.len() + size);
        frame.put_slice(prefix);
        self.unwritten = true;
        (0..count).all(|_| self.writer.write_piece(&self.response, frame))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures::stream;

    use super::*;
    use crate::EnvoyType;
    use crate::encode::encode;
    use crate::message::Variant;
    use crate::resource::{Resource, Version};

    fn mk_response(sizes: &[usize], variant: Variant) -> Response<EnvoyType> {
        let ty = EnvoyType::Endpoint;
        let resource =
            |(at, size): (usize, &usize)| Resource::new(ty, at.to_string(), &vec![at as u8; *size]);
        Response {
            variant,
            ty: Some(ty),
            type_url: ty.type_url().into(),
            nonce: "1".into(),
            version: Version(7),
            system_version: None,
            resources: sizes.iter().enumerate().map(resource).collect(),
            removed: vec!["gone".into()],
        }
    }

    /// Takes frames of one response. Each that is not the last is followed by a pause.
    fn frames_of(response: Response<EnvoyType>) -> Vec<Bytes> {
        let only = stream::iter([Ok(response)]);
        let mut body = Frames::new(Spanned::new(tracing::Span::none(), Box::pin(only)));
        let (mut frames, mut pauses) = (Vec::new(), 0);
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Pending => pauses += 1,
                Poll::Ready(frame) => match frame.unwrap().unwrap().into_data() {
                    Ok(data) => frames.push(data),
                    Err(_) => break,
                },
            }
            assert!(frames.len() < 100, "frames without end");
        }
        assert_eq!(pauses, frames.len() - 1);
        frames
    }

    #[test]
    fn frames_of_any_resources_are_the_response_and_none_is_longer_than_it_must_be() {
        let many = vec![500; 1000];
        let sizes: [&[usize]; 6] =
            [&[], &[0], &[FRAME * 2], &[10, FRAME * 3, 10, FRAME - 40, 1], &[FRAME; 3], &many];
        for variant in [Variant::Delta, Variant::Sotw] {
            for sizes in sizes {
                let response = mk_response(sizes, variant);
                let mut whole = BytesMut::new();
                encode(&response, &mut whole);
                let frames = frames_of(response);
                let all = frames.concat();
                assert_eq!(all[1..PREFIX], (whole.len() as u32).to_be_bytes(), "{sizes:?}");
                assert!(all[PREFIX..] == whole[..], "{sizes:?}");
                let longest = sizes.iter().max().map_or(0, |size| size + 200).max(FRAME);
                assert!(frames.iter().all(|frame| !frame.is_empty() && frame.len() <= longest), "{sizes:?}");
            }
        }
        assert_eq!(frames_of(mk_response(&many, Variant::Delta)).len(), 10);
    }
}
