//! Which load balancer has which tunnel key: [`Keys`] (seed C.2, C.3 "Ids").

use std::collections::BTreeMap;
use std::fmt;

use portreeve_api::c::tunnel_key::{LENGTH, TunnelKey};

use crate::Owner;

/// Why random bytes don't become a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key is in use.
    #[error(
        "{owner}: the new tunnel key is already that of {holder}: try other random bytes; if it happens again, this machine's \
         source of random bytes is broken"
    )]
    Taken {
        /// Who asked for a key.
        owner: Owner,
        /// Who has it.
        holder: Owner,
    },
    /// All bytes are 0.
    #[error("{owner}: the new tunnel key is all zeros: this machine's source of random bytes is broken")]
    Zero {
        /// Who asked for a key.
        owner: Owner,
    },
}

/// Two stored objects with the same key: packets of either pass for the other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedKey {
    /// The object that was seen first.
    pub holder: Owner,
    /// The other.
    pub owner: Owner,
}

/// The keys in use, and their owners.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    owners: BTreeMap<TunnelKey, Owner>,
    keys: BTreeMap<Owner, TunnelKey>,
}

// === impl Keys ===

impl Keys {
    /// Records the key of a stored object. An object whose key changed has only the new one.
    ///
    /// # Errors
    /// Returns an error if another object has this key. The object then counts as having none.
    pub fn claim(&mut self, owner: &Owner, key: TunnelKey) -> Result<(), SharedKey> {
        if self.keys.get(owner) == Some(&key) {
            return Ok(());
        }
        self.release(owner);
        if let Some(holder) = self.owners.get(&key) {
            return Err(SharedKey { holder: holder.clone(), owner: owner.clone() });
        }
        self.owners.insert(key, owner.clone());
        self.keys.insert(owner.clone(), key);
        Ok(())
    }

    /// Makes a key of 16 random bytes. An owner that has a key keeps it.
    ///
    /// # Errors
    /// Returns an error if the bytes are another owner's key, or all zeros.
    pub fn allocate(&mut self, owner: &Owner, random: [u8; LENGTH]) -> Result<TunnelKey, KeyError> {
        if let Some(key) = self.keys.get(owner) {
            return Ok(*key);
        }
        if random == [0; LENGTH] {
            return Err(KeyError::Zero { owner: owner.clone() });
        }
        let key = TunnelKey::from(random);
        let taken = |shared: SharedKey| KeyError::Taken { owner: shared.owner, holder: shared.holder };
        self.claim(owner, key).map_err(taken)?;
        Ok(key)
    }

    /// Removes an owner. Returns its key.
    pub fn release(&mut self, owner: &Owner) -> Option<TunnelKey> {
        let key = self.keys.remove(owner)?;
        self.owners.remove(&key);
        Some(key)
    }

    /// Returns who has a key.
    pub fn owner_of(&self, key: &TunnelKey) -> Option<&Owner> {
        self.owners.get(key)
    }

    /// Returns an owner's key.
    pub fn key_of(&self, owner: &Owner) -> Option<TunnelKey> {
        self.keys.get(owner).copied()
    }
}

// === impl SharedKey ===

impl fmt::Display for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holder, owner } = self;
        write!(
            f,
            "{owner}: its tunnel key is also that of {holder}, so either one's clients can send to both: recreate {owner} \
             without spec.tunnel-key to get its own"
        )
    }
}

impl std::error::Error for SharedKey {}
