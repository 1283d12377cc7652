//! The descriptors of Envoy's messages ([`Descriptors`]). They convert messages from and to protobuf's JSON form, which
//! Envoy reads and its documentation uses.

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

/// The descriptors that the build script compiled from the protobuf files of envoy-types.
const COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.binpb"));

/// The descriptors of Envoy's messages. Decoding them takes some milliseconds, so a program keeps them.
#[derive(Clone, Debug)]
pub struct Descriptors(DescriptorPool);

/// Why a message can't be described or converted.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The compiled descriptors are broken, which is a bug of the build.
    #[error("the descriptors of Envoy's messages: {0}")]
    Pool(prost_reflect::DescriptorError),
    /// The type is not among the compiled ones.
    #[error("no descriptor of {0}")]
    Unknown(String),
    /// The bytes are not a message of the type.
    #[error("{0}: {1}")]
    Bytes(String, prost::DecodeError),
    /// The message holds an `Any` of a type without a descriptor.
    #[error("{0}: {1}")]
    Json(String, serde_json::Error),
}

// === impl Descriptors ===

impl Descriptors {
    /// Returns the descriptors that are compiled into this program.
    ///
    /// # Errors
    /// Returns an error if they can't be decoded, which would be a bug in the build.
    pub fn built_in() -> Result<Self, DescribeError> {
        DescriptorPool::decode(COMPILED).map(Self).map_err(DescribeError::Pool)
    }

    /// Returns a message as JSON, with fields under their protobuf names and each `Any` decoded next to its `@type`.
    ///
    /// # Errors
    /// Returns an error if the type has no descriptor, or if the bytes are not a message of this type.
    pub fn json(&self, type_url: &str, body: &[u8]) -> Result<Value, DescribeError> {
        let name = type_url.rsplit('/').next().unwrap_or(type_url);
        let message = self.decode(name, body)?;
        let options = SerializeOptions::new().use_proto_field_name(true);
        message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .map_err(|error| DescribeError::Json(name.to_owned(), error))
    }

    /// Returns the message of a type from its bytes.
    pub(crate) fn decode(&self, name: &str, body: &[u8]) -> Result<DynamicMessage, DescribeError> {
        let descriptor = self.message(name)?;
        DynamicMessage::decode(descriptor, body).map_err(|error| DescribeError::Bytes(name.to_owned(), error))
    }

    /// Returns the descriptor of a message by its full name.
    pub(crate) fn message(&self, name: &str) -> Result<MessageDescriptor, DescribeError> {
        self.0.get_message_by_name(name).ok_or_else(|| DescribeError::Unknown(name.to_owned()))
    }

    /// Returns the descriptors of all messages.
    #[cfg(test)]
    pub(crate) fn messages(&self) -> impl Iterator<Item = MessageDescriptor> + '_ {
        self.0.all_messages()
    }

    /// Returns the parts of names that follow the longest known beginning of a name, and that beginning.
    pub(crate) fn near(&self, name: &str) -> (String, Vec<String>) {
        let mut parts: Vec<&str> = name.split('.').collect();
        while parts.pop().is_some() {
            let prefix = parts.iter().map(|part| format!("{part}.")).collect::<String>();
            let names = self.0.all_messages().filter(|message| message.parent_message().is_none());
            let next = names.filter_map(|message| {
                let rest = message.full_name().strip_prefix(prefix.as_str())?;
                rest.split('.').next().map(str::to_owned)
            });
            let known: std::collections::BTreeSet<String> = next.collect();
            if !known.is_empty() {
                return (prefix, known.into_iter().collect());
            }
        }
        (String::new(), Vec::new())
    }
}
