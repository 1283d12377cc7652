//! Addresses: pools, claims, allocation, reservations.

use std::net::IpAddr;

use portreeve_allocate::Owner;
use portreeve_allocate::addresses::{
    AddressBook, AddressError, Claim, Contest, Parent, Pool, PoolError, Request, Reservations, Usage,
};
use portreeve_api::c::range::Range;

fn lb(name: &str) -> Owner {
    Owner::new("LoadBalancer", "epic-a", name)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn range(text: &str) -> Range {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn pool(name: &str, ranges: &[&str]) -> Pool {
    Pool::new(name, ranges.iter().map(|text| range(text))).unwrap_or_else(|error| panic!("{error}"))
}

fn mk_book(pools: &[(&str, &[&str])]) -> AddressBook {
    let mut book = AddressBook::default();
    for (name, ranges) in pools {
        book.set_pool(pool(name, ranges)).unwrap_or_else(|error| panic!("{error}"));
    }
    book
}

fn request(owner: &str, pool: Option<&str>, wanted: Option<&str>) -> Request {
    Request { owner: lb(owner), pool: pool.map(str::to_owned), wanted: wanted.map(ip) }
}

/// Allocates from the pool `default`.
fn allocated(book: &mut AddressBook, owner: &str) -> Result<String, AddressError> {
    book.allocate(&request(owner, None, None)).map(|address| address.to_string())
}

fn claim(book: &mut AddressBook, owner: &str, address: &str, created: Option<i64>) -> Option<Contest> {
    book.claim(Claim { owner: lb(owner), address: ip(address), created })
}

fn usage(book: &AddressBook) -> Vec<(&str, u128, u64)> {
    book.usage().map(|Usage { pool, size, in_use }| (pool, size, in_use)).collect()
}

#[test]
fn lowest_free_address_is_allocated_and_released_ones_are_used_again() {
    let mut book = mk_book(&[("default", &["192.0.2.0/30"])]);
    for (owner, address) in [("a", "192.0.2.0"), ("b", "192.0.2.1"), ("c", "192.0.2.2"), ("b", "192.0.2.1")] {
        assert_eq!(allocated(&mut book, owner).as_deref(), Ok(address), "{owner}");
    }
    assert_eq!(book.release(&lb("b")), Some(ip("192.0.2.1")));
    assert_eq!(book.release(&lb("b")), None);
    assert_eq!(allocated(&mut book, "d").as_deref(), Ok("192.0.2.1"));
    assert_eq!(allocated(&mut book, "e").as_deref(), Ok("192.0.2.3"));
    let (owner, pool) = (lb("f"), "default".to_owned());
    assert_eq!(allocated(&mut book, "f"), Err(AddressError::Exhausted { owner, pool, size: 4 }));
    assert_eq!(allocated(&mut book, "a").as_deref(), Ok("192.0.2.0"), "an owner keeps it in a full pool");
    assert_eq!(usage(&book), [("default", 4, 4)]);
}

#[test]
fn huge_pools_and_both_families_are_searched_at_once() {
    let mut book = mk_book(&[("default", &["2001:db8::/64", "192.0.2.9-192.0.2.9"]), ("all", &["f000::/4"])]);
    assert_eq!(allocated(&mut book, "a").as_deref(), Ok("192.0.2.9"), "IPv4 first");
    assert_eq!(allocated(&mut book, "b").as_deref(), Ok("2001:db8::"));
    assert_eq!(book.allocate(&request("c", None, Some("2001:db8::2"))), Ok(ip("2001:db8::2")));
    assert_eq!(allocated(&mut book, "d").as_deref(), Ok("2001:db8::1"));
    assert_eq!(allocated(&mut book, "e").as_deref(), Ok("2001:db8::3"));
    assert_eq!(book.allocate(&request("f", Some("all"), None)), Ok(ip("f000::")));
    assert_eq!(usage(&book), [("all", 1 << 124, 1), ("default", (1 << 64) + 1, 5)]);
}

#[test]
fn ends_of_the_address_space_are_addresses() {
    let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let mut book = mk_book(&[
        ("default", &["255.255.255.254/31"]),
        ("low", &["0.0.0.0/31"]),
        ("six", &[&format!("{last}/127"), "::/127"]),
    ]);
    for (pool, owner, address) in [
        (None, "a", "255.255.255.254"),
        (None, "b", "255.255.255.255"),
        (Some("low"), "c", "0.0.0.0"),
        (Some("low"), "d", "0.0.0.1"),
        (Some("six"), "e", "::"),
        (Some("six"), "f", "::1"),
        (Some("six"), "g", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"),
        (Some("six"), "h", last),
    ] {
        assert_eq!(book.allocate(&request(owner, pool, None)), Ok(ip(address)));
    }
    assert!(book.allocate(&request("i", None, None)).is_err());
    assert!(book.allocate(&request("i", Some("low"), None)).is_err());
    assert!(book.allocate(&request("i", Some("six"), None)).is_err());
    assert_eq!(book.release(&lb("b")), Some(ip("255.255.255.255")));
    assert_eq!(allocated(&mut book, "i").as_deref(), Ok("255.255.255.255"));
}

#[test]
fn wanted_address_is_granted_if_it_is_free_wherever_it_is() {
    let mut book = mk_book(&[("default", &["192.0.2.0/30"]), ("other", &["198.51.100.0/30"])]);
    for (wanted, pool) in [
        ("192.0.2.1", Some("default")),
        ("198.51.100.3", Some("other")),
        ("203.0.113.1", None),
        ("2001:db8::1", None),
    ] {
        assert_eq!(book.allocate(&request(wanted, None, Some(wanted))), Ok(ip(wanted)));
        assert_eq!(book.pool_of(ip(wanted)), pool);
        let taken = AddressError::Taken { owner: lb("z"), address: ip(wanted), holder: lb(wanted) };
        assert_eq!(book.allocate(&request("z", None, Some(wanted))), Err(taken), "exclusive");
        assert_eq!(book.allocate(&request(wanted, None, Some(wanted))), Ok(ip(wanted)), "again");
    }
    assert_eq!(book.outside(), 2);
    let mapped = book.allocate(&request("z", None, Some("::ffff:203.0.113.1")));
    assert!(
        matches!(mapped, Err(AddressError::Taken { .. })),
        "the same address in IPv6 notation: {mapped:?}"
    );
    assert_eq!(book.owner_of(ip("::ffff:203.0.113.1")), Some(&lb("203.0.113.1")));
}

#[test]
fn owner_that_wants_another_address_gives_its_own_back_only_if_it_gets_it() {
    let mut book = mk_book(&[("default", &["192.0.2.0/30"])]);
    allocated(&mut book, "a").unwrap();
    allocated(&mut book, "b").unwrap();
    assert!(book.allocate(&request("a", None, Some("192.0.2.1"))).is_err());
    assert_eq!(book.address_of(&lb("a")), Some(ip("192.0.2.0")));
    assert_eq!(book.allocate(&request("a", None, Some("192.0.2.3"))), Ok(ip("192.0.2.3")));
    assert_eq!(book.owner_of(ip("192.0.2.0")), None);
    assert_eq!(usage(&book), [("default", 4, 2)]);
}

#[test]
fn pool_that_overlaps_another_is_refused_and_the_old_one_stays() {
    let mut book = mk_book(&[("default", &["192.0.2.0/28", "192.0.2.64/28"]), ("b", &["192.0.2.32/28"])]);
    for (name, text, other, at) in [
        ("c", "192.0.2.15-192.0.2.16", "default", "192.0.2.0/28"),
        ("c", "192.0.2.0/24", "default", "192.0.2.64/28"),
        ("c", "192.0.2.34-192.0.2.35", "b", "192.0.2.32/28"),
        ("b", "192.0.2.40-192.0.2.70", "default", "192.0.2.64/28"),
    ] {
        let (pool_name, other) = (name.to_owned(), other.to_owned());
        let (range, other_range) = (range(text), self::range(at));
        let error = PoolError::Overlap { pool: pool_name, range, other, other_range };
        assert_eq!(book.set_pool(pool(name, &[text])), Err(error), "{text}");
    }
    assert_eq!(usage(&book), [("b", 16, 0), ("default", 32, 0)]);
    assert_eq!(book.set_pool(pool("default", &["192.0.2.0/27"])), Ok(()), "a pool may overlap its old form");
    assert!(book.set_pool(pool("c", &["192.0.2.31-192.0.2.31"])).is_err());
    assert!(book.remove_pool("default") && !book.remove_pool("default"));
    assert_eq!(book.set_pool(pool("c", &["192.0.2.31-192.0.2.31"])), Ok(()));
}

#[test]
fn owners_keep_their_addresses_when_a_pool_shrinks_or_goes() {
    let mut book = mk_book(&[("default", &["192.0.2.0/30"])]);
    for owner in ["a", "b", "c", "d"] {
        allocated(&mut book, owner).unwrap();
    }
    book.set_pool(pool("default", &["192.0.2.2-192.0.2.4"])).unwrap();
    assert_eq!((usage(&book), book.outside()), (vec![("default", 3, 2)], 2));
    assert_eq!(allocated(&mut book, "a").as_deref(), Ok("192.0.2.0"));
    assert_eq!(allocated(&mut book, "e").as_deref(), Ok("192.0.2.4"));
    book.remove_pool("default");
    assert_eq!((usage(&book), book.outside()), (vec![], 5));
    assert!(matches!(allocated(&mut book, "f"), Err(AddressError::NoPool { .. })));
    book.release(&lb("a"));
    book.set_pool(pool("default", &["192.0.2.0/29"])).unwrap();
    assert_eq!((usage(&book), book.outside()), (vec![("default", 8, 4)], 0));
    assert_eq!(allocated(&mut book, "f").as_deref(), Ok("192.0.2.0"));
}

#[test]
fn older_object_keeps_an_address_that_two_claim_whichever_comes_first() {
    for (first, second, keeper) in [
        (("a", Some(10)), ("b", Some(20)), "a"),
        (("b", Some(20)), ("a", Some(10)), "a"),
        (("a", None), ("b", Some(20)), "b"),
        (("b", Some(20)), ("a", None), "b"),
        (("b", Some(5)), ("a", Some(5)), "a"),
        (("a", None), ("b", None), "a"),
    ] {
        let mut book = mk_book(&[("default", &["192.0.2.0/30"])]);
        assert_eq!(claim(&mut book, first.0, "192.0.2.1", first.1), None);
        assert_eq!(claim(&mut book, first.0, "192.0.2.1", first.1), None, "again");
        let loser = lb(if keeper == "a" { "b" } else { "a" });
        let contest = Contest { address: ip("192.0.2.1"), keeper: lb(keeper), loser: loser.clone() };
        assert_eq!(claim(&mut book, second.0, "192.0.2.1", second.1), Some(contest));
        assert_eq!(book.owner_of(ip("192.0.2.1")), Some(&lb(keeper)));
        assert_eq!(book.address_of(&loser), None);
        assert_eq!(usage(&book), [("default", 4, 1)]);
    }
}

#[test]
fn loser_of_a_contest_gets_the_address_that_its_object_has_when_the_keeper_goes() {
    let mut book = mk_book(&[("default", &["192.0.2.0/30"])]);
    claim(&mut book, "a", "192.0.2.0", Some(1));
    for (owner, created) in [("c", Some(3)), ("b", Some(2)), ("d", None)] {
        assert!(claim(&mut book, owner, "192.0.2.0", created).is_some());
    }
    assert_eq!(book.allocate(&request("d", None, None)), Ok(ip("192.0.2.1")), "it waits no longer");
    for (gone, next) in [("a", Some(lb("b"))), ("b", Some(lb("c"))), ("c", None)] {
        assert_eq!(book.release(&lb(gone)), Some(ip("192.0.2.0")));
        assert_eq!(book.owner_of(ip("192.0.2.0")), next.as_ref());
    }
    assert_eq!(usage(&book), [("default", 4, 1)]);
}

#[test]
fn claim_moves_an_owner_and_records_its_age() {
    let mut book = mk_book(&[("default", &["192.0.2.0/30"])]);
    allocated(&mut book, "a").unwrap();
    assert_eq!(claim(&mut book, "a", "192.0.2.0", Some(5)), None, "the object is created now");
    assert!(claim(&mut book, "b", "192.0.2.0", Some(6)).is_some_and(|contest| contest.keeper == lb("a")));
    assert_eq!(claim(&mut book, "a", "192.0.2.2", Some(5)), None);
    assert_eq!(
        (book.owner_of(ip("192.0.2.0")), book.address_of(&lb("a"))),
        (Some(&lb("b")), Some(ip("192.0.2.2")))
    );
    book.allocate(&request("a", None, Some("192.0.2.3"))).unwrap();
    assert!(claim(&mut book, "b", "192.0.2.3", Some(6)).is_some_and(|contest| contest.keeper == lb("a")));
    assert_eq!(usage(&book), [("default", 4, 2)]);
}

#[test]
fn reserved_address_is_nobody_elses_until_its_owner_has_it() {
    let mut book = mk_book(&[("default", &["192.0.2.0/30"])]);
    let reserve = |book: &mut AddressBook, request: &Request, reserved: &Reservations| {
        book.reserve(request, &Parent { name: "EPIC epic/epic", version: "7", reserved })
    };
    let draw = reserve(&mut book, &request("a", None, None), &Reservations::new()).unwrap();
    let stored = draw.reserved().clone();
    assert_eq!((draw.version(), &stored), ("7", &Reservations::from([(lb("a"), ip("192.0.2.0"))])));
    assert_eq!(draw.confirm(&stored).unwrap().into_parts(), (lb("a"), ip("192.0.2.0")));
    assert_eq!(book.owner_of(ip("192.0.2.0")), None, "the object doesn't have it yet");

    let taken = AddressError::Taken { owner: lb("b"), address: ip("192.0.2.0"), holder: lb("a") };
    assert_eq!(
        reserve(&mut book, &request("b", None, Some("192.0.2.0")), &stored).map(drop),
        Err(taken),
        "a reservation counts as an owner"
    );
    let again = reserve(&mut book, &request("a", None, None), &stored).unwrap();
    assert_eq!(again.reserved(), &stored, "after a crash the owner gets the same");
    let beside = reserve(&mut book, &request("b", None, None), &stored).unwrap();
    assert_eq!(beside.reserved().get(&lb("b")), Some(&ip("192.0.2.1")));

    claim(&mut book, "a", "192.0.2.0", Some(1));
    let settled = reserve(&mut book, &request("b", None, None), &stored).unwrap();
    let both = Reservations::from([(lb("b"), ip("192.0.2.1"))]);
    assert_eq!(settled.reserved(), &both, "the reservation of an owner with its address is over");
    assert!(settled.confirm(&stored).is_err(), "an answer without it");
    assert_eq!(allocated(&mut book, "c").as_deref(), Ok("192.0.2.1"), "the book itself has no reservations");
}
