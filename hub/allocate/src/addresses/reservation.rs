//! Addresses for several allocators at once: [`Reservations`], [`AddressDraw`], [`ReservedAddress`].
//!
//! An address that is chosen but not yet written into its object is kept in the status of a parent, one for all pools:
//!
//! 1. Read the parent, then bring the book up to date with the stored objects: it must know each that was written before that
//!    read. Drop reservations of owners that are gone. [`AddressBook::reserve`] returns an [`AddressDraw`] with the
//!    reservations to store.
//! 2. Replace the parent's status with them and the resourceVersion of the read. After a 409, or a write without an answer,
//!    drop the draw and begin again at 1.
//! 3. [`AddressDraw::confirm`] takes the API server's answer and returns a [`ReservedAddress`]. Only that yields the address.
//! 4. Write the address into the owner. A later draw, by any allocator, removes the reservation.
//!
//! An allocator that ends between 2 and 4 leaves a reservation, and the owner's next draw returns the same address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::book::{AddressBook, Request};
use super::error::{AddressError, NotReserved};
use crate::Owner;

/// Addresses that are chosen, but may not yet be written into their owners.
pub type Reservations = BTreeMap<Owner, IpAddr>;

/// The object that keeps the reservations, as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Its kind and name, for errors, for example `EPIC epic/epic`.
    pub name: &'a str,
    /// Its resourceVersion.
    pub version: &'a str,
    /// The reservations in its status.
    pub reserved: &'a Reservations,
}

/// An address whose reservation isn't stored yet. It can't be cloned, and it doesn't yield its address.
#[derive(Debug)]
#[must_use = "the reservation must be stored before the address is used"]
pub struct AddressDraw {
    parent: String,
    version: String,
    reserved: Reservations,
    owner: Owner,
    address: IpAddr,
}

/// An address whose reservation is stored, so that no other owner gets it.
#[derive(Debug)]
#[must_use = "a reserved address must be written into its owner"]
pub struct ReservedAddress {
    owner: Owner,
    address: IpAddr,
}

// === impl AddressBook ===

impl AddressBook {
    /// Chooses an address as [`AddressBook::allocate`] does, beside those that are reserved. The book doesn't change: it
    /// records the address when the stored object [claims](AddressBook::claim) it.
    ///
    /// # Errors
    /// As [`AddressBook::allocate`]. The holder of a reservation counts as an owner.
    pub fn reserve(&mut self, request: &Request, parent: &Parent<'_>) -> Result<AddressDraw, AddressError> {
        let pending = |(owner, address): (&Owner, &IpAddr)| {
            let address = address.to_canonical();
            self.owner_of(address).is_none().then(|| (owner.clone(), address))
        };
        let mut reserved: Reservations = parent.reserved.iter().filter_map(pending).collect();
        let address = self.choose(request, &reserved)?;
        reserved.insert(request.owner.clone(), address);
        let (name, version) = (parent.name.to_owned(), parent.version.to_owned());
        Ok(AddressDraw { parent: name, version, reserved, owner: request.owner.clone(), address })
    }

    /// Finds an address that is neither in use nor reserved for another owner. No reserved address is in use.
    fn choose(&mut self, request: &Request, reserved: &Reservations) -> Result<IpAddr, AddressError> {
        let Request { owner, wanted, .. } = request;
        if let Some(address) = wanted.map(|wanted| wanted.to_canonical()) {
            let mut others = reserved.iter().filter(|(other, held)| *other != owner && **held == address);
            if let Some((holder, _)) = others.next() {
                return Err(AddressError::Taken { owner: owner.clone(), address, holder: holder.clone() });
            }
        } else if let Some(own) = reserved.get(owner).filter(|_| self.address_of(owner).is_none()) {
            return Ok(*own);
        }
        let added: Vec<IpAddr> = reserved.values().copied().filter(|held| self.used.insert(*held)).collect();
        let found = self.find(request);
        for held in added {
            self.used.remove(held);
        }
        found
    }
}

// === impl AddressDraw ===

impl AddressDraw {
    /// Returns the reservations to store in the parent's status: this one, and those of other owners that are still needed.
    pub const fn reserved(&self) -> &Reservations {
        &self.reserved
    }

    /// Returns the resourceVersion that the write must carry.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Takes the reservations in the API server's answer to the write. After a 409 or without an answer there is nothing to
    /// confirm: drop the draw.
    ///
    /// # Errors
    /// Returns an error if the answer doesn't have this reservation, as when the write went to the object instead of its status
    /// subresource.
    pub fn confirm(self, answer: &Reservations) -> Result<ReservedAddress, NotReserved> {
        let Self { parent, version, owner, address, .. } = self;
        match answer.get(&owner) == Some(&address) {
            true => Ok(ReservedAddress { owner, address }),
            false => Err(NotReserved { parent, version, owner, address }),
        }
    }
}

// === impl ReservedAddress ===

impl ReservedAddress {
    /// Returns the owner and its address.
    pub fn into_parts(self) -> (Owner, IpAddr) {
        (self.owner, self.address)
    }
}
