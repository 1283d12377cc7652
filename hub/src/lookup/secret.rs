//! A Secret as resolvers see it ([`SecretFacts`]), and the content of its keys ([`SecretBytes`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use portreeve_xds::{Name, Version};
use zeroize::Zeroizing;

/// The Secrets that objects ask for, by namespace and name.
pub type WantedSecrets = BTreeMap<(Name, Name), WantedSecret>;

/// A Secret that objects ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedSecret {
    /// The keys whose content is asked for.
    pub keys: BTreeSet<Name>,
    /// Grows whenever the Secret or another of its keys is asked for. It must then be read again, even if it was asked for
    /// shortly before, because what no object asks for is forgotten.
    pub request: u64,
}

/// The content of one key of a Secret. It is overwritten in memory when its last copy is dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Arc<Zeroizing<Vec<u8>>>);

/// What is kept of a Secret: its type and keys, and the content of those keys only whose content an object asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// Its type, for example `kubernetes.io/tls`.
    pub type_: String,
    /// Its keys, each with a hash of its content.
    pub keys: BTreeMap<Name, Version>,
    contents: BTreeMap<Name, SecretBytes>,
}

/// What is known of a Secret that objects ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownSecret {
    /// Whether the Secret was ever read; if so, what was found. `Some(None)`: it doesn't exist.
    pub(super) found: Option<Option<SecretFacts>>,
    /// Why the Secret can't be read at present.
    pub(super) unreadable: Option<String>,
}

// === impl SecretBytes ===

impl SecretBytes {
    /// Takes over the content of a key.
    pub fn new(content: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(content)))
    }

    /// Returns the content as the field of a message. It is shared with this value, not copied.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Returns the content.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

// === impl SecretFacts ===

impl SecretFacts {
    /// Creates the facts about a Secret of this type and content.
    pub fn new(type_: &str, contents: BTreeMap<Name, SecretBytes>) -> Self {
        let keys = contents.iter().map(|(key, content)| (key.clone(), Version::of(content.as_slice())));
        Self { type_: type_.to_owned(), keys: keys.collect(), contents }
    }

    /// Drops the content of all other keys. The keys and their hashes stay.
    pub fn keep_contents(&mut self, wanted: &BTreeSet<Name>) {
        self.contents.retain(|key, _| wanted.contains(key));
    }

    /// Returns the kept contents by key.
    pub fn into_contents(self) -> BTreeMap<Name, SecretBytes> {
        self.contents
    }

    /// Returns the content of a key. `None` if the Secret lacks the key, or if its content was not kept.
    pub fn content(&self, key: &str) -> Option<&SecretBytes> {
        self.contents.get(key)
    }
}

// === impl KnownSecret ===

impl KnownSecret {
    /// Returns why the answer to a question about this Secret is not known for sure; `None` if it is known.
    pub(super) fn doubt(&self, namespace: &str, name: &str) -> Option<String> {
        match (&self.unreadable, &self.found) {
            (Some(why), _) => Some(why.clone()),
            (None, None) => Some(format!("Secret {namespace}/{name} was not read yet")),
            (None, Some(_)) => None,
        }
    }

    /// Returns the facts about the Secret, as it was last read.
    pub(super) fn facts(&self) -> Option<&SecretFacts> {
        self.found.as_ref()?.as_ref()
    }
}
