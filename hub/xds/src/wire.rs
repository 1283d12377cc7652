//! The gRPC codecs. prost decodes requests and the client's messages; [`crate::encode`] writes a server's responses.

use std::marker::PhantomData;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
};
use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::load::Load;
use crate::message::{Kind, Node, Request, Variant};
use crate::resource::ResourceType;
use crate::tally::{Tally, head};

/// Decodes the requests of one server stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestDecoder<T> {
    variant: Variant,
    limit: Load,
    types: PhantomData<T>,
}

/// A decoded request.
#[derive(Debug)]
pub(crate) struct Incoming<T> {
    pub(crate) request: Request<T>,
    /// Set if the request alone holds more than a stream may: the error's text. Only the node and the type are decoded then.
    pub(crate) excess: Option<String>,
}

/// A codec of prost messages that sends `E` and receives `D`.
#[derive(Clone, Copy, Debug)]
pub struct MessageCodec<E, D> {
    messages: PhantomData<fn() -> (E, D)>,
}

/// The codec of an incremental stream's client.
pub type ClientCodec = MessageCodec<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

// === impl RequestDecoder ===

impl<T> RequestDecoder<T> {
    /// A decoder of one variant for a stream with this limit.
    pub(crate) fn new(variant: Variant, limit: Load) -> Self {
        Self { variant, limit, types: PhantomData }
    }
}

impl<T: ResourceType> RequestDecoder<T> {
    /// Decodes one request.
    pub(crate) fn decode(&self, mut bytes: Bytes) -> Result<Incoming<T>, Status> {
        let excess = Tally::of(self.variant, &bytes).check(self.limit).err();
        if excess.is_some() {
            bytes = Bytes::from(head(self.variant, &bytes));
        }
        let request = match self.variant {
            Variant::Delta => DeltaDiscoveryRequest::decode(bytes).map(from_delta),
            Variant::Sotw => DiscoveryRequest::decode(bytes).map(from_sotw),
        };
        let request = request.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Incoming { request, excess })
    }
}

// === impl MessageCodec ===

impl<E, D> Default for MessageCodec<E, D> {
    fn default() -> Self {
        Self { messages: PhantomData }
    }
}

impl<E: Message + 'static, D: Message + Default + 'static> Codec for MessageCodec<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<E: Message, D> Encoder for MessageCodec<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, message: E, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<E, D: Message + Default> Decoder for MessageCodec<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        D::decode(bytes).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

fn from_delta<T: ResourceType>(message: DeltaDiscoveryRequest) -> Request<T> {
    Request {
        nonce: message.response_nonce,
        subscribe: message.resource_names_subscribe,
        unsubscribe: message.resource_names_unsubscribe,
        initial: message.initial_resource_versions.into_iter().collect(),
        error_detail: message.error_detail.map(|status| status.message),
        node: message.node.map(from_node),
        ..Request::new(Kind::of(&message.type_url))
    }
}

fn from_sotw<T: ResourceType>(message: DiscoveryRequest) -> Request<T> {
    Request {
        nonce: message.response_nonce,
        names: message.resource_names,
        version_info: message.version_info,
        error_detail: message.error_detail.map(|status| status.message),
        node: message.node.map(from_node),
        ..Request::new(Kind::of(&message.type_url))
    }
}

fn from_node(node: core::Node) -> Node {
    let fields = node.metadata.into_iter().flat_map(|metadata| metadata.fields);
    let texts = fields.filter_map(|(name, value)| match value.kind {
        Some(ValueKind::StringValue(text)) => Some((name, text)),
        _ => None,
    });
    Node { id: node.id, cluster: node.cluster, metadata: texts.collect() }
}

/// Builds the message of a node.
pub(crate) fn to_node(node: &Node) -> core::Node {
    use envoy_types::pb::google::protobuf::{Struct, Value};
    let value = |text: &String| Value { kind: Some(ValueKind::StringValue(text.clone())) };
    let fields = node.metadata.iter().map(|(name, text)| (name.clone(), value(text))).collect();
    core::Node {
        id: node.id.clone(),
        cluster: node.cluster.clone(),
        metadata: Some(Struct { fields }),
        ..core::Node::default()
    }
}
