//! Envoy's messages in protobuf's JSON, as Envoy reads and documents it. Entry point: [`Descriptors`].

use anyhow::Context;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

/// What the build compiled from the protobuf files of envoy-types.
const COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.binpb"));

/// The descriptors of Envoy's messages.
pub struct Descriptors(DescriptorPool);

// === impl Descriptors ===

impl Descriptors {
    /// Those that this program was built with.
    ///
    /// # Errors
    /// They can't be read, which would be a defect of the build.
    pub fn built_in() -> anyhow::Result<Self> {
        Ok(Self(DescriptorPool::decode(COMPILED).context("the descriptors of Envoy's messages")?))
    }

    /// The message of a type URL as JSON: fields under their protobuf names, each `Any` unfolded beside its `@type`.
    ///
    /// # Errors
    /// The type is not among the descriptors, or the bytes are no message of it.
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
