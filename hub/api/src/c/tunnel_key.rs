//! The key of a load balancer's tunnels: [`TunnelKey`].

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The length of a key in bytes: the 128 bits of the wire's security field (seed C.4).
pub const LENGTH: usize = 16;

/// The length of a key's text, in characters.
pub(super) const TEXT_LENGTH: usize = 24;

/// The schema's pattern: 16 bytes in base64, or the empty text for none.
pub(super) const PATTERN: &str = "^([A-Za-z0-9+/]{21}[AQgw]==)?$";

/// The key that authenticates the packets of a load balancer's tunnels (seed C.4). Its text is base64 with padding, 24
/// characters, and each key has only one text.
///
/// [`fmt::Debug`] leaves the key out, so that logs don't show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelKey([u8; LENGTH]);

/// Why a text isn't a tunnel key. The errors don't repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// The text isn't base64.
    #[error(
        "a tunnel key must be {LENGTH} bytes in base64 with padding, but this text is no such base64: take the output of \
         `openssl rand -base64 {LENGTH}`, or leave the key empty to get one"
    )]
    NotBase64,
    /// The text is base64 of this other number of bytes.
    #[error(
        "a tunnel key must be {LENGTH} bytes in base64 with padding, but this one has {0}: take the output of `openssl rand \
         -base64 {LENGTH}`, or leave the key empty to get one"
    )]
    Length(usize),
}

// === impl TunnelKey ===

impl TunnelKey {
    /// Returns the bytes as they are on the wire.
    pub const fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

impl From<[u8; LENGTH]> for TunnelKey {
    fn from(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }
}

impl FromStr for TunnelKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let bytes = STANDARD.decode(text).map_err(|_| ParseKeyError::NotBase64)?;
        bytes.as_slice().try_into().map(Self).map_err(|_| ParseKeyError::Length(bytes.len()))
    }
}

impl fmt::Display for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TunnelKey(..)")
    }
}
