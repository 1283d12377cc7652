//! The name of a Secret resource: [`SecretName`].

use std::fmt;
use std::str::FromStr;

use portreeve_xds::Name;

use super::{NotAReference, join};

/// The name of a Secret resource between hub and agent, `NAMESPACE/SECRET/KEY`. A Kubernetes Secret becomes up to two
/// resources, so that whoever only verifies peers never receives a private key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    /// The Secret's namespace.
    pub namespace: Name,
    /// The Secret's name.
    pub name: Name,
    /// The part of its content.
    pub part: SecretPart,
}

/// The part of a Secret's content that one resource holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretPart {
    /// The certificate chain and its private key: the keys `tls.crt` and `tls.key`.
    Certificate,
    /// The certificates of the authorities that verify peers: the key `ca.crt`.
    Authority,
}

// === impl SecretName ===

impl SecretName {
    /// Creates the name of a Secret's part.
    pub fn new(namespace: impl Into<Name>, name: impl Into<Name>, part: SecretPart) -> Self {
        Self { namespace: namespace.into(), name: name.into(), part }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, &[&self.namespace, &self.name, self.part.key()])
    }
}

impl FromStr for SecretName {
    type Err = NotAReference;

    /// # Errors
    /// Returns an error if the text has another form.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            NotAReference::new(text, "a Secret's part, as namespace/name/tls.crt or namespace/name/ca.crt")
        };
        let mut parts = text.split('/');
        let (Some(namespace), Some(name), Some(key), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let part = SecretPart::ALL.into_iter().find(|part| part.key() == key).ok_or_else(wrong)?;
        match namespace.is_empty() || name.is_empty() {
            true => Err(wrong()),
            false => Ok(Self::new(namespace, name, part)),
        }
    }
}

// === impl SecretPart ===

impl SecretPart {
    /// Every part.
    pub const ALL: [Self; 2] = [Self::Certificate, Self::Authority];

    /// The key of the Secret that names the part in a resource's name.
    pub fn key(self) -> &'static str {
        match self {
            Self::Certificate => "tls.crt",
            Self::Authority => "ca.crt",
        }
    }

    /// The keys that a Secret must have for this part.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Certificate => &["tls.crt", "tls.key"],
            Self::Authority => &["ca.crt"],
        }
    }
}
