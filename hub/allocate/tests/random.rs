//! Random operations on an address book, held against a naive model that scans all addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portreeve_allocate::Owner;
use portreeve_allocate::addresses::{
    AddressBook, AddressError, Claim, DEFAULT_POOL, Parent, Pool, PoolError, Request, Reservations,
};
use portreeve_api::c::range::Range;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const OPERATIONS: usize = 20_000;
/// More owners than addresses, so that pools are exhausted.
const OWNERS: u32 = 90;
const POOLS: [&str; 4] = [DEFAULT_POOL, "a", "b", "c"];

/// All addresses that occur, in order.
fn universe() -> Vec<IpAddr> {
    let v4 = (0..64).map(|at| IpAddr::from(Ipv4Addr::from_bits(0xc000_0200 + at)));
    let v6 = (0..16).map(|at| IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) + at)));
    v4.chain(v6).collect()
}

/// The naive model.
#[derive(Default)]
struct Model {
    pools: BTreeMap<String, Vec<(IpAddr, IpAddr)>>,
    owners: HashMap<Owner, (IpAddr, Option<i64>)>,
    /// Losers of contests.
    losers: HashMap<Owner, (IpAddr, Option<i64>)>,
}

/// The order in which owners keep an address.
fn age(owner: &Owner, created: Option<i64>) -> (i64, Owner) {
    (created.unwrap_or(i64::MAX), owner.clone())
}

impl Model {
    fn holder(&self, address: IpAddr) -> Option<&Owner> {
        self.owners.iter().find(|(_, (held, _))| *held == address).map(|(owner, _)| owner)
    }

    fn in_pool(&self, pool: &str, address: IpAddr) -> bool {
        self.pools
            .get(pool)
            .is_some_and(|all| all.iter().any(|(from, to)| *from <= address && address <= *to))
    }

    /// Returns the address that a request gets, or the first word of the error.
    fn find(
        &self,
        request: &Request,
        reserved: &Reservations,
        all: &[IpAddr],
    ) -> Result<IpAddr, &'static str> {
        let owner = &request.owner;
        let live = |address: &IpAddr| self.holder(*address).is_none();
        if let Some(wanted) = request.wanted {
            let reserved_by = reserved.iter().find(|(_, held)| **held == wanted && live(held));
            let holder = self.holder(wanted).or(reserved_by.map(|(owner, _)| owner));
            return if holder.is_none_or(|holder| holder == owner) { Ok(wanted) } else { Err("taken") };
        }
        if let Some((address, _)) = self.owners.get(owner) {
            return Ok(*address);
        }
        if let Some(own) = reserved.get(owner).filter(|held| live(held)) {
            return Ok(*own);
        }
        let pool = request.pool.as_deref().unwrap_or(DEFAULT_POOL);
        if !self.pools.contains_key(pool) {
            return Err("no pool");
        }
        let held = self.owners.values().map(|(held, _)| *held);
        let used: HashSet<IpAddr> = held.chain(reserved.values().copied()).collect();
        let mut free = all.iter().filter(|address| self.in_pool(pool, **address) && !used.contains(*address));
        free.next().copied().ok_or("exhausted")
    }

    fn claim(&mut self, claim: &Claim) -> Option<(Owner, Owner)> {
        let new = (claim.address, claim.created);
        let other = self.holder(claim.address).filter(|holder| **holder != claim.owner).cloned();
        let Some(other) = other else {
            self.give(&claim.owner, new);
            return None;
        };
        let old = self.owners[&other];
        if age(&other, old.1) < age(&claim.owner, claim.created) {
            self.losers.insert(claim.owner.clone(), new);
            return Some((other, claim.owner.clone()));
        }
        self.owners.remove(&other);
        self.give(&claim.owner, new);
        self.losers.insert(other.clone(), old);
        Some((claim.owner.clone(), other))
    }

    fn give(&mut self, owner: &Owner, new: (IpAddr, Option<i64>)) {
        self.losers.remove(owner);
        self.owners.insert(owner.clone(), new);
        self.promote();
    }

    fn release(&mut self, owner: &Owner) -> Option<IpAddr> {
        self.losers.remove(owner);
        let (address, _) = self.owners.remove(owner)?;
        self.promote();
        Some(address)
    }

    /// Gives free addresses to their oldest losers, until none of them is free.
    fn promote(&mut self) {
        loop {
            let free = self.losers.iter().filter(|(_, (address, _))| self.holder(*address).is_none());
            let oldest = free.min_by_key(|(owner, (_, created))| age(owner, *created));
            let Some((owner, lost)) = oldest.map(|(owner, lost)| (owner.clone(), *lost)) else { return };
            self.losers.remove(&owner);
            self.owners.insert(owner, lost);
        }
    }

    /// Returns the pool that a new form of a pool overlaps.
    fn overlapped(&self, name: &str, ranges: &[(IpAddr, IpAddr)], all: &[IpAddr]) -> BTreeSet<String> {
        let inside = |address: &&IpAddr| ranges.iter().any(|(from, to)| from <= *address && *address <= to);
        let shared = |other: &str| all.iter().filter(inside).any(|address| self.in_pool(other, *address));
        self.pools.keys().filter(|other| *other != name && shared(other)).cloned().collect()
    }
}

/// A book and its model, and the dice.
struct Pair {
    book: AddressBook,
    model: Model,
    reserved: Reservations,
    all: Vec<IpAddr>,
    dice: StdRng,
    /// How often each outcome was seen.
    seen: BTreeMap<&'static str, usize>,
}

/// The first word of an error.
fn word(error: &AddressError) -> &'static str {
    match error {
        AddressError::Taken { .. } => "taken",
        AddressError::Exhausted { .. } => "exhausted",
        AddressError::NoPool { .. } => "no pool",
    }
}

impl Pair {
    fn saw(&mut self, outcome: &'static str) {
        *self.seen.entry(outcome).or_default() += 1;
    }

    fn owner(&mut self) -> Owner {
        Owner::new("LoadBalancer", "epic-a", &format!("lb{}", self.dice.random_range(0..OWNERS)))
    }

    fn address(&mut self) -> IpAddr {
        self.all[self.dice.random_range(0..self.all.len())]
    }

    fn pool_name(&mut self) -> &'static str {
        POOLS[self.dice.random_range(0..POOLS.len())]
    }

    fn request(&mut self) -> Request {
        let owner = self.owner();
        let wanted = self.dice.random_bool(0.2).then(|| self.address());
        let pool = self.dice.random_bool(0.6).then(|| self.pool_name().to_owned());
        Request { owner, pool, wanted }
    }

    /// Two addresses of one family, in order.
    fn ends(&mut self) -> (IpAddr, IpAddr) {
        let from = self.address();
        let length = self.dice.random_range(0..16);
        let mut family = self.all.iter().filter(|to| to.is_ipv4() == from.is_ipv4() && **to >= from);
        (from, family.clone().nth(length).or(family.next_back()).copied().unwrap_or(from))
    }

    fn set_pool(&mut self) {
        let name = self.pool_name();
        let count = self.dice.random_range(1..3);
        let ends: Vec<(IpAddr, IpAddr)> = (0..count).map(|_| self.ends()).collect();
        let ranges =
            ends.iter().map(|(from, to)| Range::new(*from, *to).unwrap_or_else(|error| panic!("{error}")));
        let Ok(pool) = Pool::new(name, ranges) else {
            return assert!(ends[0].0 <= ends[1].1 && ends[1].0 <= ends[0].1, "refused without an overlap");
        };
        let overlapped = self.model.overlapped(name, &ends, &self.all);
        match self.book.set_pool(pool) {
            Ok(()) => {
                assert_eq!(overlapped, BTreeSet::new());
                self.model.pools.insert(name.to_owned(), ends);
                self.saw("pool");
            }
            Err(PoolError::Overlap { other, .. }) => {
                assert!(overlapped.contains(&other), "{other}");
                self.saw("overlap");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn allocate(&mut self) {
        let request = self.request();
        let expected = self.model.find(&request, &Reservations::new(), &self.all);
        assert_eq!(self.book.allocate(&request).map_err(|error| word(&error)), expected, "{request:?}");
        self.saw(expected.err().unwrap_or("allocated"));
        if let Ok(address) = expected {
            let created = self.model.owners.get(&request.owner).and_then(|(_, created)| *created);
            if self.model.owners.get(&request.owner).is_none_or(|(old, _)| *old != address) {
                self.model.give(&request.owner, (address, created));
            }
        }
    }

    fn reserve(&mut self) {
        let request = self.request();
        let expected = self.model.find(&request, &self.reserved, &self.all);
        let parent = Parent { name: "EPIC epic/epic", version: "1", reserved: &self.reserved };
        let drawn = self.book.reserve(&request, &parent);
        let found = drawn.as_ref().map(|draw| draw.reserved()[&request.owner]).map_err(word);
        assert_eq!(found, expected, "{request:?} beside {:?}", self.reserved);
        if let Ok(draw) = drawn {
            self.reserved = draw.reserved().clone();
            self.saw("reserved");
        }
    }

    fn claim(&mut self) {
        let (owner, address) = (self.owner(), self.address());
        let created = self.dice.random_bool(0.8).then(|| self.dice.random_range(0..20));
        let claim = Claim { owner, address, created };
        let expected = self.model.claim(&claim);
        let found = self.book.claim(claim).map(|contest| (contest.keeper, contest.loser));
        self.saw(if expected.is_some() { "contest" } else { "claimed" });
        assert_eq!(found, expected);
    }

    fn release(&mut self) {
        let owner = self.owner();
        let expected = self.model.release(&owner);
        assert_eq!(self.book.release(&owner), expected);
        self.reserved.remove(&owner);
    }

    fn step(&mut self) {
        match self.dice.random_range(0..100) {
            0..8 => self.set_pool(),
            8..10 => {
                let name = self.pool_name();
                assert_eq!(self.book.remove_pool(name), self.model.pools.remove(name).is_some());
            }
            10..20 => self.claim(),
            20..55 => self.allocate(),
            55..65 => self.reserve(),
            _ => self.release(),
        }
    }

    /// Compares everything that both know.
    fn compare(&self) {
        for address in &self.all {
            assert_eq!(self.book.owner_of(*address), self.model.holder(*address), "{address}");
            let pools = self.model.pools.keys().filter(|pool| self.model.in_pool(pool, *address));
            assert_eq!(self.book.pool_of(*address), pools.map(String::as_str).next(), "{address}");
        }
        let inside = |pool: &str| {
            let held = self.model.owners.values();
            held.filter(|(address, _)| self.model.in_pool(pool, *address)).count() as u64
        };
        let expected: Vec<(&str, u64)> =
            self.model.pools.keys().map(|pool| (pool.as_str(), inside(pool))).collect();
        let found: Vec<(&str, u64)> = self.book.usage().map(|usage| (usage.pool, usage.in_use)).collect();
        assert_eq!(found, expected);
        let outside = self.model.owners.len() as u64 - expected.iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!(self.book.outside(), outside);
    }
}

#[test]
fn book_does_what_the_naive_model_does() {
    for seed in [1, 2] {
        println!("seed {seed}");
        let mut pair = Pair {
            book: AddressBook::default(),
            model: Model::default(),
            reserved: Reservations::new(),
            all: universe(),
            dice: StdRng::seed_from_u64(seed),
            seen: BTreeMap::new(),
        };
        for _ in 0..OPERATIONS {
            pair.step();
            pair.compare();
        }
        println!("{:?}", pair.seen);
        for outcome in [
            "allocated",
            "claimed",
            "contest",
            "exhausted",
            "no pool",
            "overlap",
            "pool",
            "reserved",
            "taken",
        ] {
            assert!(pair.seen.get(outcome).is_some_and(|count| *count > 50), "{outcome} is rare");
        }
    }
}

#[test]
fn operations_on_a_huge_pool_are_as_quick_as_on_a_small_one() {
    let range = "2001:db8::/32".parse().unwrap_or_else(|error| panic!("{error}"));
    let mut book = AddressBook::default();
    book.set_pool(Pool::new(DEFAULT_POOL, [range]).unwrap()).unwrap();
    let request = |at: u32| Request {
        owner: Owner::new("LoadBalancer", "a", &at.to_string()),
        pool: None,
        wanted: None,
    };
    for at in 0..50_000 {
        book.allocate(&request(at)).unwrap();
    }
    for at in (0..50_000).step_by(2) {
        book.release(&request(at).owner).unwrap();
    }
    for at in 50_000..75_000 {
        let address = book.allocate(&request(at)).unwrap();
        let expected = (0x2001_0db8_u128 << 96) + u128::from(at - 50_000) * 2;
        assert_eq!(address, IpAddr::from(Ipv6Addr::from_bits(expected)), "the lowest gap");
    }
}
