//! Makes protobuf messages of JSON, and bytes of messages ([`message`], [`bytes`]).

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, MessageDescriptor, ReflectMessage as _, Value};

use crate::descriptors::Descriptors;

/// Returns the message of a JSON object. Unknown fields are errors.
///
/// # Errors
/// Returns an error if the object is not a message of the type.
pub fn message(
    descriptor: MessageDescriptor,
    value: serde_json::Value,
) -> Result<DynamicMessage, serde_json::Error> {
    DynamicMessage::deserialize(descriptor, value)
}

/// Returns the bytes of a message. Protobuf leaves the order of map entries open; here they are sorted, inside of each
/// `Any` too, so equal messages have equal bytes.
pub fn bytes(descriptors: &Descriptors, message: &DynamicMessage) -> Vec<u8> {
    if message.descriptor().full_name() == "google.protobuf.Any" {
        return any(descriptors, message).unwrap_or_else(|| message.encode_to_vec());
    }
    let mut buffer = Vec::new();
    for (field, value) in message.fields() {
        put(descriptors, &field, value, &mut buffer);
    }
    buffer
}

fn put(descriptors: &Descriptors, field: &FieldDescriptor, value: &Value, buffer: &mut Vec<u8>) {
    match value {
        Value::Message(inner) => delimited(field.number(), &bytes(descriptors, inner), buffer),
        Value::List(values) if values.iter().all(|value| matches!(value, Value::Message(_))) => {
            values.iter().for_each(|value| put(descriptors, field, value, buffer));
        }
        Value::Map(entries) => {
            let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
            entries.sort_by(|(a, _), (b, _)| order(a, b));
            for (key, value) in entries {
                delimited(field.number(), &entry(descriptors, field, (key, value)), buffer);
            }
        }
        plain => alone(field.parent_message(), field, plain.clone(), buffer),
    }
}

/// Writes one field that has no messages inside.
fn alone(of: &MessageDescriptor, field: &FieldDescriptor, value: Value, buffer: &mut Vec<u8>) {
    let mut message = DynamicMessage::new(of.clone());
    message.set_field(field, value);
    buffer.extend(message.encode_to_vec());
}

fn entry(descriptors: &Descriptors, field: &FieldDescriptor, (key, value): (&MapKey, &Value)) -> Vec<u8> {
    let mut buffer = Vec::new();
    if let prost_reflect::Kind::Message(entry) = field.kind() {
        alone(&entry, &entry.map_entry_key_field(), key.clone().into(), &mut buffer);
        put(descriptors, &entry.map_entry_value_field(), value, &mut buffer);
    }
    buffer
}

fn delimited(number: u32, bytes: &[u8], buffer: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, buffer);
    encode_varint(bytes.len() as u64, buffer);
    buffer.extend_from_slice(bytes);
}

/// Returns an `Any` whose content is in the one order. `None` if its type has no descriptor.
fn any(descriptors: &Descriptors, message: &DynamicMessage) -> Option<Vec<u8>> {
    let url = message.get_field_by_name("type_url")?;
    let content = message.get_field_by_name("value")?;
    let name = url.as_str()?.rsplit('/').next()?;
    let content = descriptors.decode(name, content.as_bytes()?).ok()?;
    let mut buffer = Vec::new();
    delimited(1, url.as_str()?.as_bytes(), &mut buffer);
    let content = bytes(descriptors, &content);
    if !content.is_empty() {
        delimited(2, &content, &mut buffer);
    }
    Some(buffer)
}

fn order(a: &MapKey, b: &MapKey) -> std::cmp::Ordering {
    match (a, b) {
        (MapKey::String(a), MapKey::String(b)) => a.cmp(b),
        (a, b) => number(a).cmp(&number(b)),
    }
}

fn number(key: &MapKey) -> i128 {
    match key {
        MapKey::Bool(value) => i128::from(*value),
        MapKey::I32(value) => i128::from(*value),
        MapKey::I64(value) => i128::from(*value),
        MapKey::U32(value) => i128::from(*value),
        MapKey::U64(value) => i128::from(*value),
        MapKey::String(_) => 0,
    }
}
