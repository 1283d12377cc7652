//! The requests of a call ([`Requests`]).
//!
//! tonic's `Streaming` keeps the memory of the longest request for as long as the stream lives. After a restart that is what each
//! client claims to have: 110 MB with 500 agents of 6,000 resources each (measured).

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use tonic::Status;
use tonic::body::Body;

use crate::frames::PREFIX;
use crate::resource::ResourceType;
use crate::wire::{Incoming, RequestDecoder};

/// The requests of one stream.
pub(crate) struct Requests<T> {
    body: Body,
    decoder: RequestDecoder<T>,
    /// Longest request, bytes.
    limit: usize,
    /// What has arrived of the next requests.
    arrived: BytesMut,
}

// === impl Requests ===

impl<T: ResourceType> Requests<T> {
    pub(crate) fn new(body: Body, decoder: RequestDecoder<T>, limit: usize) -> Self {
        Self { body, decoder, limit, arrived: BytesMut::new() }
    }

    /// Returns the next request; `None` when the client has ended its side. Nothing is lost if the future is dropped.
    pub(crate) async fn message(&mut self) -> Result<Option<Incoming<T>>, Status> {
        loop {
            if let Some(request) = self.take()? {
                return self.decoder.decode(request).map(Some);
            }
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.arrived.extend_from_slice(&data);
                    }
                }
                None if self.arrived.is_empty() => return Ok(None),
                None => return Err(Status::internal("the client ended its side within a request")),
            }
        }
    }

    /// Takes a complete request.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(([compressed, length @ ..], rest)) = self.arrived.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let (length, limit) = (u32::from_be_bytes(*length) as usize, self.limit);
        if *compressed != 0 {
            return Err(Status::internal("the request is compressed, but its headers name no compression"));
        }
        if length > limit {
            return Err(Status::out_of_range(format!("a request of {length} bytes, of at most {limit}")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let request = self.arrived.split_to(PREFIX + length).freeze().slice(PREFIX..);
        // What follows gets memory of its own, so that the request's is free once it is decoded.
        self.arrived = BytesMut::from(&self.arrived[..]);
        Ok(Some(request))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::BufMut;
    use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use futures::stream;
    use http_body::Frame;
    use prost::Message;
    use tonic::Code;

    use super::*;
    use crate::message::Variant;
    use crate::{EnvoyType, Limits};

    const LIMIT: usize = 100_000;

    fn mk_request(names: usize) -> Vec<u8> {
        let name = |at: usize| format!("name-{at}");
        let request = DeltaDiscoveryRequest {
            type_url: EnvoyType::Cluster.type_url().to_owned(),
            resource_names_subscribe: (0..names).map(name).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        let mut bytes = vec![0];
        bytes.put_u32(request.encoded_len() as u32);
        request.encode(&mut bytes).unwrap();
        bytes
    }

    fn requests_of(pieces: Vec<Vec<u8>>) -> Requests<EnvoyType> {
        let frames = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
        let body = Body::new(http_body_util::StreamBody::new(stream::iter(frames)));
        Requests::new(body, RequestDecoder::new(Variant::Delta, Limits::default().load), LIMIT)
    }

    /// The numbers of names of the requests, and how the stream ends.
    async fn read(pieces: Vec<Vec<u8>>) -> (Vec<usize>, Option<Code>) {
        let (mut requests, mut names) = (requests_of(pieces), Vec::new());
        loop {
            match requests.message().await {
                Ok(Some(incoming)) => names.push(incoming.request.subscribe.len()),
                Ok(None) => return (names, None),
                Err(status) => return (names, Some(status.code())),
            }
        }
    }

    #[tokio::test]
    async fn requests_arrive_in_pieces_of_any_length() {
        let all = [mk_request(3), mk_request(0), mk_request(5_000), mk_request(1)].concat();
        for length in [1, 7, 4_096, 16_384, all.len()] {
            let pieces = all.chunks(length).map(<[u8]>::to_vec).collect();
            assert_eq!(read(pieces).await, (vec![3, 0, 5_000, 1], None), "{length}");
        }
    }

    #[tokio::test]
    async fn bad_ends_are_errors() {
        let (good, long) = (mk_request(1), mk_request(20_000));
        let mut compressed = good.clone();
        compressed[0] = 1;
        let cut = good[..good.len() - 1].to_vec();
        for (bad, code) in [
            (compressed, Code::Internal),
            (cut, Code::Internal),
            (good[..2].to_vec(), Code::Internal),
            (long, Code::OutOfRange),
        ] {
            assert_eq!(read(vec![good.clone(), bad]).await, (vec![1], Some(code)));
        }
    }

    #[tokio::test]
    async fn long_request_leaves_no_memory_behind() {
        let (long, next) = (mk_request(5_000), mk_request(1));
        let mut requests = requests_of(vec![[long, next[..7].to_vec()].concat(), next[7..].to_vec()]);
        assert_eq!(requests.message().await.unwrap().unwrap().request.subscribe.len(), 5_000);
        assert!(requests.arrived.capacity() < 1_000, "{}", requests.arrived.capacity());
        assert_eq!(requests.message().await.unwrap().unwrap().request.subscribe.len(), 1);
    }
}
