//! Who has which address, and which are free: [`AddressBook`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portreeve_api::c::range::Range;

use super::DEFAULT_POOL;
use super::error::{AddressError, Contest, PoolError};
use super::pool::Pool;
use super::runs::Runs;
use crate::Owner;

/// Pools, and the addresses of owners.
///
/// An owner has at most one address, and an address at most one owner, whether it is in a pool or not. Each operation takes
/// time logarithmic in the number of owners, whatever the pools' size; only [`AddressBook::set_pool`] also counts the owners in
/// the new pool. An IPv4 address in IPv6 notation counts as the IPv4 address.
///
/// A pool's gateway, or another address that no owner may get, is claimed like an owner's.
#[derive(Clone, Debug, Default)]
pub struct AddressBook {
    pools: BTreeMap<String, Held>,
    /// Each range of all pools by its first address, with its pool's name.
    ranges: BTreeMap<IpAddr, (Range, String)>,
    holders: BTreeMap<IpAddr, Holder>,
    addresses: BTreeMap<Owner, IpAddr>,
    /// The losers of contests: they get the address when its holder gives it back, the oldest first.
    losers: BTreeSet<(IpAddr, Age, Owner)>,
    /// The entry of each loser.
    lost: BTreeMap<Owner, (IpAddr, Age)>,
    pub(super) used: Runs,
}

/// An address that a stored object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The object.
    pub owner: Owner,
    /// Its address.
    pub address: IpAddr,
    /// When the object was created, for example in seconds since 1970. `None` counts as newer than all.
    pub created: Option<i64>,
}

/// A request for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub owner: Owner,
    /// The pool's name. `None`: [`DEFAULT_POOL`].
    pub pool: Option<String>,
    /// The address that the user gave. `None`: any free one.
    pub wanted: Option<IpAddr>,
}

/// A pool's numbers, for the gauges `epic_address_pool_size` and `epic_addresses_in_use` (seed C.3 "Address").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The number of addresses, at most [`u128::MAX`].
    pub size: u128,
    /// The number of addresses that have an owner.
    pub in_use: u64,
}

/// A pool and how many of its addresses have an owner.
#[derive(Clone, Debug)]
struct Held {
    pool: Pool,
    in_use: u64,
}

/// The owner of an address.
#[derive(Clone, Debug)]
struct Holder {
    age: Age,
    owner: Owner,
}

/// When an object was created, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Created(i64),
    Unknown,
}

// === impl AddressBook ===

impl AddressBook {
    /// Adds a pool, or changes the one of this name. Owners keep addresses that are no longer in a pool.
    ///
    /// # Errors
    /// Returns an error if the pool overlaps another one. The pool of this name, if any, then stays as it was. Try refused
    /// pools again when another one was changed or removed.
    pub fn set_pool(&mut self, pool: Pool) -> Result<(), PoolError> {
        if let Some((range, other_range, other)) = self.overlap(&pool) {
            let (pool, other) = (pool.name().to_owned(), other.to_owned());
            return Err(PoolError::Overlap { pool, range, other, other_range });
        }
        self.remove_pool(pool.name());
        let owners = |range: &Range| self.holders.range(range.first()..=range.last()).count() as u64;
        let in_use = pool.ranges().iter().map(owners).sum();
        for range in pool.ranges() {
            self.ranges.insert(range.first(), (*range, pool.name().to_owned()));
        }
        self.pools.insert(pool.name().to_owned(), Held { pool, in_use });
        Ok(())
    }

    /// Removes a pool. Its owners keep their addresses. Returns whether it was there.
    pub fn remove_pool(&mut self, name: &str) -> bool {
        let Some(held) = self.pools.remove(name) else { return false };
        for range in held.pool.ranges() {
            self.ranges.remove(&range.first());
        }
        true
    }

    /// Records the address of a stored object, at the start and on each event. An object whose address changed has only the
    /// new one.
    ///
    /// If two objects claim an address, the older one keeps it, whichever claims first; of two that were created at the same
    /// time, the one with the lower name. Returns that contest: its loser doesn't have the address, but gets it as soon as the
    /// keeper gives it back, because its object has it. A loser that claims keeps the address that it had before, if any.
    ///
    /// The age decides only because nothing else is known: at the start, first claim for objects whose status says that they
    /// have the address, then call [`AddressBook::allocate`] for the rest. It never takes an address from its holder.
    pub fn claim(&mut self, claim: Claim) -> Option<Contest> {
        let address = claim.address.to_canonical();
        let new = Holder { age: claim.created.map_or(Age::Unknown, Age::Created), owner: claim.owner };
        let Some(old) = self.holders.get(&address).filter(|old| old.owner != new.owner).cloned() else {
            self.occupy(address, new);
            return None;
        };
        let old_keeps = (old.age, &old.owner) < (new.age, &new.owner);
        let (keeper, loser) = if old_keeps { (old, new) } else { (new, old) };
        let contest = Contest { address, keeper: keeper.owner.clone(), loser: loser.owner.clone() };
        if !old_keeps {
            self.vacate(&loser.owner);
            self.occupy(address, keeper);
        }
        self.lose(address, loser);
        Some(contest)
    }

    /// Allocates an address.
    ///
    /// A wanted address is granted if no other owner has it, in whatever pool it is, or in none (seed C.6 "Pool"); the owner's
    /// earlier address then becomes free. Without one, an owner keeps the address that it has, and a new owner gets the lowest
    /// free address of the pool.
    ///
    /// # Errors
    /// Returns an error if the wanted address is another owner's, or if there is no such pool, or if all of its addresses are
    /// in use. The owner then keeps the address that it had.
    pub fn allocate(&mut self, request: &Request) -> Result<IpAddr, AddressError> {
        let address = self.find(request)?;
        let old = self.address_of(&request.owner);
        if old != Some(address) {
            let known = old.and_then(|old| self.holders.get(&old));
            let age = known.map_or(Age::Unknown, |holder| holder.age);
            self.occupy(address, Holder { age, owner: request.owner.clone() });
        }
        Ok(address)
    }

    /// Removes an owner. Returns its address, which is free now, or belongs to the oldest loser of a contest for it.
    pub fn release(&mut self, owner: &Owner) -> Option<IpAddr> {
        self.stop_waiting(owner);
        let address = self.vacate(owner)?;
        self.promote(address);
        Some(address)
    }

    /// Returns who has an address.
    pub fn owner_of(&self, address: IpAddr) -> Option<&Owner> {
        self.holders.get(&address.to_canonical()).map(|holder| &holder.owner)
    }

    /// Returns an owner's address.
    pub fn address_of(&self, owner: &Owner) -> Option<IpAddr> {
        self.addresses.get(owner).copied()
    }

    /// Returns the name of the pool that an address is in.
    pub fn pool_of(&self, address: IpAddr) -> Option<&str> {
        let address = address.to_canonical();
        let (_, (range, pool)) = self.ranges.range(..=address).next_back()?;
        range.contains(address).then_some(pool.as_str())
    }

    /// Returns the numbers of all pools, by name.
    pub fn usage(&self) -> impl Iterator<Item = Usage<'_>> {
        self.pools.iter().map(|(name, held)| Usage {
            pool: name,
            size: held.pool.size(),
            in_use: held.in_use,
        })
    }

    /// Returns the number of owners whose address is in no pool.
    pub fn outside(&self) -> u64 {
        let inside: u64 = self.pools.values().map(|held| held.in_use).sum();
        self.addresses.len() as u64 - inside
    }

    /// Finds the address that a request gets, without recording it.
    pub(super) fn find(&self, request: &Request) -> Result<IpAddr, AddressError> {
        let owner = &request.owner;
        if let Some(address) = request.wanted.map(|wanted| wanted.to_canonical()) {
            let holder = self.owner_of(address).filter(|holder| *holder != owner);
            let taken = |holder: &Owner| AddressError::Taken {
                owner: owner.clone(),
                address,
                holder: holder.clone(),
            };
            return holder.map_or(Ok(address), |holder| Err(taken(holder)));
        }
        if let Some(address) = self.address_of(owner) {
            return Ok(address);
        }
        let name = request.pool.as_deref().unwrap_or(DEFAULT_POOL);
        let no_pool = || {
            let known = self.pools.keys().cloned().collect();
            AddressError::NoPool { owner: owner.clone(), pool: name.to_owned(), known }
        };
        let pool = &self.pools.get(name).ok_or_else(no_pool)?.pool;
        let free = pool.ranges().iter().find_map(|range| self.used.first_missing(range));
        free.ok_or_else(|| AddressError::Exhausted {
            owner: owner.clone(),
            pool: name.to_owned(),
            size: pool.size(),
        })
    }

    /// Gives a free address, or the owner's own, to an owner. Its earlier address becomes free.
    fn occupy(&mut self, address: IpAddr, holder: Holder) {
        self.stop_waiting(&holder.owner);
        let earlier = self.vacate(&holder.owner);
        self.addresses.insert(holder.owner.clone(), address);
        self.holders.insert(address, holder);
        self.used.insert(address);
        if let Some(held) = self.held(address) {
            held.in_use += 1;
        }
        if let Some(earlier) = earlier.filter(|earlier| *earlier != address) {
            self.promote(earlier);
        }
    }

    /// Takes an owner's address, and leaves it free.
    fn vacate(&mut self, owner: &Owner) -> Option<IpAddr> {
        let address = self.addresses.remove(owner)?;
        self.holders.remove(&address);
        self.used.remove(address);
        if let Some(held) = self.held(address) {
            held.in_use -= 1;
        }
        Some(address)
    }

    /// Gives a free address to the oldest loser of a contest for it.
    fn promote(&mut self, address: IpAddr) {
        let from = (address, Age::Created(i64::MIN), Owner::from(""));
        if let Some((_, age, owner)) =
            self.losers.range(from..).next().filter(|first| first.0 == address).cloned()
        {
            self.occupy(address, Holder { age, owner });
        }
    }

    fn lose(&mut self, address: IpAddr, loser: Holder) {
        self.stop_waiting(&loser.owner);
        self.lost.insert(loser.owner.clone(), (address, loser.age));
        self.losers.insert((address, loser.age, loser.owner));
    }

    fn stop_waiting(&mut self, owner: &Owner) {
        if let Some((address, age)) = self.lost.remove(owner) {
            self.losers.remove(&(address, age, owner.clone()));
        }
    }

    fn held(&mut self, address: IpAddr) -> Option<&mut Held> {
        let pool = self.pool_of(address)?.to_owned();
        self.pools.get_mut(&pool)
    }

    /// Returns the range of a pool that overlaps another pool, with that pool's range and name.
    fn overlap(&self, pool: &Pool) -> Option<(Range, Range, &str)> {
        let others = |range: &Range| {
            let below = self.ranges.range(..=range.last()).rev();
            let found = below.take_while(|(_, (other, _))| other.overlaps(range));
            let mut foreign = found.filter(|(_, (_, name))| name != pool.name());
            foreign.next().map(|(_, (other, name))| (*range, *other, name.as_str()))
        };
        pool.ranges().iter().find_map(others)
    }
}
