//! Protobuf's wire format: sizes and writers of length-delimited fields.

use bytes::BufMut;

const LENGTH_DELIMITED: u32 = 2;

/// The encoded size of a varint, bytes.
fn varint_len(value: usize) -> usize {
    let bits = (usize::BITS - value.leading_zeros()).max(1) as usize;
    bits.div_ceil(7)
}

/// The encoded size of a length-delimited field with a number below 16, bytes.
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

/// The bytes of a length-delimited field that is left out when it is empty.
pub(crate) fn size_unless_empty(len: usize) -> usize {
    if len == 0 { 0 } else { size_of_bytes(len) }
}

/// Writes a length-delimited field unless it is empty.
pub(crate) fn put_unless_empty(out: &mut impl BufMut, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(out, field, bytes);
    }
}
