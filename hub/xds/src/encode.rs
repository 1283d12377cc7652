//! Encodes the two response messages by hand, so that resource bytes are copied and never re-encoded. Entry point:
//! [`encode`].

use bytes::BufMut;

use crate::message::{Response, Variant};
use crate::protobuf::{put_bytes, put_unless_empty, size_of_bytes, size_unless_empty};
use crate::resource::{Resource, ResourceType};

/// The encoded size of a response, bytes.
pub fn encoded_len<T: ResourceType>(response: &Response<T>) -> usize {
    (0..pieces(response)).map(|piece| piece_len(response, piece)).sum()
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
    /// Returns how many of the next pieces have at most `most` bytes together, and their size. It is one at least.
    #[cfg(feature = "net")]
    pub(crate) fn that_fit<T: ResourceType>(self, response: &Response<T>, most: usize) -> (usize, usize) {
        let (mut count, mut size) = (0, 0);
        for piece in self.piece..pieces(response) {
            let next = piece_len(response, piece);
            if size > 0 && size + next > most {
                break;
            }
            (count, size) = (count + 1, size + next);
        }
        (count, size)
    }

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
            (at, variant) if at <= count => put_bytes(out, 2, bytes_of(&response.resources[at - 1], variant)),
            _ => {
                write_tail(response, out);
                return false;
            }
        }
        true
    }
}

/// The number of a response's pieces.
fn pieces<T>(response: &Response<T>) -> usize {
    response.resources.len() + 2
}

/// The size of a piece, bytes.
fn piece_len<T: ResourceType>(response: &Response<T>, piece: usize) -> usize {
    match (piece, response.variant) {
        (0, Variant::Delta) => {
            size_unless_empty(response.system_version.as_deref().unwrap_or_default().len())
        }
        (0, Variant::Sotw) => size_of_bytes(16),
        (at, variant) if at <= response.resources.len() => {
            size_of_bytes(bytes_of(&response.resources[at - 1], variant).len())
        }
        (_, variant) => {
            let removed = if variant == Variant::Delta { &response.removed[..] } else { &[] };
            let removed: usize = removed.iter().map(|name| size_of_bytes(name.len())).sum();
            size_unless_empty(response.type_url.len()) + size_unless_empty(response.nonce.len()) + removed
        }
    }
}

/// The message of a resource in a response.
fn bytes_of(resource: &Resource, variant: Variant) -> &[u8] {
    match variant {
        Variant::Delta => resource.delta_bytes(),
        Variant::Sotw => resource.any_bytes(),
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
