//! Converts Envoy's messages to protobuf's JSON form, which Envoy reads and its documentation uses. Entry point:
//! [`Descriptors`].

use anyhow::Context;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

/// The descriptors that the build script compiled from the protobuf files of envoy-types.
const COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.binpb"));

/// The descriptors of Envoy's messages.
pub struct Descriptors(DescriptorPool);

// === impl Descriptors ===

impl Descriptors {
    /// Returns the descriptors that are compiled into this program.
    ///
    /// # Errors
    /// Returns an error if they can't be decoded, which would be a bug in the build.
    pub fn built_in() -> anyhow::Result<Self> {
        Ok(Self(DescriptorPool::decode(COMPILED).context("the descriptors of Envoy's messages")?))
    }

    /// Returns a message as JSON, with fields under their protobuf names and each `Any` decoded next to its `@type`.
    ///
    /// # Errors
    /// Returns an error if the type has no descriptor, or if the bytes are not a message of this type.
    pub fn json(&self, type_url: &str, body: &[u8]) -> anyhow::Result<Value> {
        let name = type_url.rsplit('/').next().unwrap_or(type_url);
        let descriptor =
            self.0.get_message_by_name(name).with_context(|| format!("no descriptor of {name}"))?;
        let message = DynamicMessage::decode(descriptor, body).with_context(|| name.to_owned())?;
        let options = SerializeOptions::new().use_proto_field_name(true);
        message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .with_context(|| name.to_owned())
    }
}
