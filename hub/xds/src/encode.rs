//! Encodes the two response messages by hand, so that resource bytes are copied and never re-encoded. Entry point:
//! [`encode`].

use bytes::BufMut;

use crate::message::{Response, Variant};
use crate::protobuf::{put_bytes, put_unless_empty, size_of_bytes, size_unless_empty};
use crate::resource::ResourceType;

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

/// A position in a response that is written in pieces: its head, each resource, its tail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Writer {
    piece: usize,
}

// === impl Writer ===

impl Writer {
    /// Writes the next piece. Returns whether there are more.
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
