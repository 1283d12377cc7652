//! Protobuf by hand for the two response messages, so that resource bytes are copied and never re-encoded.

use bytes::BufMut;

use crate::message::{Response, Variant};
use crate::resource::ResourceType;

const LENGTH_DELIMITED: u32 = 2;

/// The bytes that a varint takes.
pub(crate) fn varint_len(value: usize) -> usize {
    let bits = (usize::BITS - value.leading_zeros()).max(1) as usize;
    bits.div_ceil(7)
}

/// The bytes that a length-delimited field with a number below 16 takes.
pub(crate) fn size_of_bytes(len: usize) -> usize {
    1 + varint_len(len) + len
}

fn put_varint(out: &mut impl BufMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes the head of a length-delimited field; `len` bytes must follow.
pub(crate) fn put_length(out: &mut impl BufMut, field: u32, len: usize) {
    put_varint(out, (field << 3 | LENGTH_DELIMITED) as usize);
    put_varint(out, len);
}

/// Writes a length-delimited field.
pub(crate) fn put_bytes(out: &mut impl BufMut, field: u32, bytes: &[u8]) {
    put_length(out, field, bytes.len());
    out.put_slice(bytes);
}

fn size_unless_empty(len: usize) -> usize {
    if len == 0 { 0 } else { size_of_bytes(len) }
}

fn put_unless_empty(out: &mut impl BufMut, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(out, field, bytes);
    }
}

/// The encoded size of a response, bytes.
pub fn encoded_len<T: ResourceType>(response: &Response<T>) -> usize {
    let head = size_unless_empty(response.type_url.len()) + size_unless_empty(response.nonce.len());
    match response.variant {
        Variant::Delta => {
            let system = response.system_version.as_ref().map_or(0, |text| size_unless_empty(text.len()));
            let resources: usize =
                response.resources.iter().map(|one| size_of_bytes(one.delta_bytes().len())).sum();
            let removed: usize = response.removed.iter().map(|name| size_of_bytes(name.len())).sum();
            head + system + resources + removed
        }
        Variant::Sotw => {
            let resources: usize =
                response.resources.iter().map(|one| size_of_bytes(one.any_bytes().len())).sum();
            head + size_of_bytes(16) + resources
        }
    }
}

/// Writes a response as a `DeltaDiscoveryResponse` or a `DiscoveryResponse` (envoy/service/discovery/v3).
pub fn encode<T: ResourceType>(response: &Response<T>, out: &mut impl BufMut) {
    let mut writer = Writer::default();
    while writer.write_piece(response, out) {}
}

/// A position in a response that is written piece by piece: its head, each resource, its tail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Writer {
    piece: usize,
}

// === impl Writer ===

impl Writer {
    /// Writes the next piece; says whether there are more.
    pub(crate) fn write_piece<T: ResourceType>(
        &mut self,
        response: &Response<T>,
        out: &mut impl BufMut,
    ) -> bool {
        let (piece, count) = (self.piece, response.resources.len());
        self.piece += 1;
        match (piece, response.variant) {
            (0, Variant::Delta) => {
                put_unless_empty(out, 1, response.system_version.as_deref().unwrap_or_default().as_bytes());
            }
            (0, Variant::Sotw) => put_bytes(out, 1, &response.version.text()),
            (at, Variant::Delta) if at <= count => {
                put_bytes(out, 2, response.resources[at - 1].delta_bytes())
            }
            (at, Variant::Sotw) if at <= count => put_bytes(out, 2, response.resources[at - 1].any_bytes()),
            _ => {
                write_tail(response, out);
                return false;
            }
        }
        true
    }
}

fn write_tail<T: ResourceType>(response: &Response<T>, out: &mut impl BufMut) {
    put_unless_empty(out, 4, response.type_url.as_bytes());
    put_unless_empty(out, 5, response.nonce.as_bytes());
    if response.variant == Variant::Delta {
        for name in &response.removed {
            put_bytes(out, 6, name.as_bytes());
        }
    }
}
