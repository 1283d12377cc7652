//! One file of the store as bytes: a header with a checksum, then the key and the content. Entry points: [`seal`] and
//! [`unseal`].
//!
//! ```text
//! 0  magic            8 bytes
//! 8  format           u32, little-endian, as are all numbers
//! 12 kind             u32
//! 16 length of key    u32
//! 20 length of content u32
//! 24 xxh3-64 over 8..24 and all that follows the header
//! 32 key, content
//! ```

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

/// The first bytes of every file of the store.
const MAGIC: [u8; 8] = *b"prstate\n";
/// The format version that this agent writes, and the only one that it reads.
const FORMAT: u32 = 1;
/// Length of the header in bytes.
const HEADER: usize = 32;
/// Maximum length of a file in bytes. Longer files are not read into memory.
pub const LONGEST: u64 = 64 << 20;

/// Why a file can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The file does not start like a file of the store.
    Foreign,
    /// Another agent version wrote the file, in this format version.
    Format(u32),
    /// The file is truncated: its length, and the length that it should have.
    Torn(usize, usize),
    /// The checksum does not match.
    Corrupt,
    /// The file is intact, but this agent can't decode its content.
    Unreadable,
}

/// A file's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The number of the key's kind.
    pub kind: u32,
    /// The key's text.
    pub key: &'a str,
    /// The content.
    pub content: &'a [u8],
}

/// Encodes a file.
pub fn seal(parts: &Parts<'_>) -> Vec<u8> {
    let (key, content) = (parts.key.as_bytes(), parts.content);
    let mut out = Vec::with_capacity(HEADER + key.len() + content.len());
    out.extend(MAGIC);
    for number in [FORMAT, parts.kind, length(key), length(content)] {
        out.extend(number.to_le_bytes());
    }
    out.extend([0; 8]);
    out.extend(key);
    out.extend(content);
    let sum = checksum(&out).to_le_bytes();
    out[24..HEADER].copy_from_slice(&sum);
    out
}

/// Decodes a file.
///
/// # Errors
/// Returns why the file can't be used.
pub fn unseal(bytes: &[u8]) -> Result<Parts<'_>, Flaw> {
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(Flaw::Foreign);
    }
    if bytes.len() < HEADER {
        return Err(Flaw::Torn(bytes.len(), HEADER));
    }
    let format = number(bytes, 8);
    if format != FORMAT {
        return Err(Flaw::Format(format));
    }
    let (key, content) = (number(bytes, 16) as usize, number(bytes, 20) as usize);
    let whole = HEADER.saturating_add(key).saturating_add(content);
    if bytes.len() < whole {
        return Err(Flaw::Torn(bytes.len(), whole));
    }
    let sum = checksum(bytes).to_le_bytes();
    if bytes.len() > whole || bytes[24..HEADER] != sum {
        return Err(Flaw::Corrupt);
    }
    let (key, content) = bytes[HEADER..].split_at(key);
    let key = std::str::from_utf8(key).map_err(|_| Flaw::Corrupt)?;
    Ok(Parts { kind: number(bytes, 12), key, content })
}

/// Returns the checksum of a whole file, without the checksum's own bytes.
fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&bytes[8..24]);
    hash.update(&bytes[HEADER..]);
    hash.digest()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// Converts a length. A length that is too large for the format is capped, so that readers find the file
/// truncated.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(f, "is not a file of the agent's store"),
            Self::Format(format) => {
                let whose = if *format > FORMAT { "a newer" } else { "an older" };
                write!(f, "was written by {whose} agent: format {format}, this agent reads format {FORMAT}")
            }
            Self::Torn(there, of) => write!(f, "is torn: {there} of {of} bytes are there"),
            Self::Corrupt => write!(f, "is corrupt: its checksum does not fit"),
            Self::Unreadable => write!(f, "is whole, but says nothing that this agent understands"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts<'_> = Parts { kind: 3, key: "A/ns/call", content: b"content" };

    #[test]
    fn what_was_sealed_is_read_back() {
        assert_eq!(unseal(&seal(&PARTS)), Ok(PARTS));
        let empty = Parts { kind: 0, key: "", content: b"" };
        assert_eq!(unseal(&seal(&empty)), Ok(empty));
    }

    #[test]
    fn every_shorter_file_is_torn() {
        let whole = seal(&PARTS);
        for length in 0..whole.len() {
            assert!(
                matches!(unseal(&whole[..length]), Err(Flaw::Torn(there, _)) if there == length),
                "{length}"
            );
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let whole = seal(&PARTS);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(unseal(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn longer_file_is_corrupt_and_other_formats_are_named() {
        let mut long = seal(&PARTS);
        long.push(0);
        assert_eq!(unseal(&long), Err(Flaw::Corrupt));
        let mut newer = seal(&PARTS);
        newer[8] = 2;
        assert_eq!(unseal(&newer), Err(Flaw::Format(2)));
        assert!(Flaw::Format(2).to_string().contains("a newer agent: format 2, this agent reads format 1"));
        assert!(Flaw::Format(0).to_string().contains("an older agent"));
        assert_eq!(unseal(b"#!/bin/sh\n"), Err(Flaw::Foreign));
    }
}
