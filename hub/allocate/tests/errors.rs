//! The text of every error: what happened, to which object, why, and what to do.

use std::net::IpAddr;

use portreeve_allocate::Owner;
use portreeve_allocate::addresses::{AddressError, Contest, NotReserved, Pool, PoolError};
use portreeve_allocate::ids::{HighId, IdKind, NotStored, UsedUp};
use portreeve_allocate::keys::{KeyError, SharedKey};
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

#[test]
fn ids_are_used_up() {
    let (account, epic) = ("Account epic-a/a".to_owned(), "EPIC epic/epic".to_owned());
    let holder = Some("LoadBalancer epic-a/web".to_owned());
    for (error, text) in [
        (
            UsedUp { kind: IdKind::Service, parent: account.clone(), counter: 65_535, holder: None },
            "Account epic-a/a: no service id is left: status.current-service-id is 65535, the last id is 65535, and ids are never \
             reused: to hand out ids of deleted objects again, set status.current-service-id to the highest id in use, or use \
             another Account",
        ),
        (
            UsedUp { kind: IdKind::Service, parent: account, counter: 3, holder },
            "Account epic-a/a: no service id is left: LoadBalancer epic-a/web has 65535, the last one, and ids are never reused: \
             recreate it without a service id, or use another Account",
        ),
        (
            UsedUp { kind: IdKind::Group, parent: epic.clone(), counter: 65_535, holder: None },
            "EPIC epic/epic: no group id is left: status.current-group-id is 65535, the last id is 65535, and ids are never \
             reused: to hand out ids of deleted objects again, set status.current-group-id to the highest id in use",
        ),
        (
            UsedUp { kind: IdKind::Tunnel, parent: epic, counter: 2_147_483_647, holder: None },
            "EPIC epic/epic: no tunnel id is left: status.current-tunnel-id is 2147483647, the last id is 2147483647, and ids \
             are never reused: to hand out ids of deleted objects again, set status.current-tunnel-id to the highest id in use",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn counter_or_reservation_is_not_stored() {
    let answer = |found| NotStored {
        kind: IdKind::Service,
        parent: "Account epic-a/a".to_owned(),
        written: 5,
        read: "7".to_owned(),
        found,
        version: "8".to_owned(),
    };
    assert_eq!(
        answer(Some(4)).to_string(),
        "Account epic-a/a: status.current-service-id is not stored: 5 was written at resourceVersion 7, the answer has 4 at 8: \
         replace the /status subresource, and begin again with a new read"
    );
    assert!(answer(None).to_string().contains("the answer has none at 8: "));
    let (parent, version) = ("EPIC epic/epic".to_owned(), "7".to_owned());
    assert_eq!(
        NotReserved { parent, version, owner: lb("web"), address: ip("192.0.2.1") }.to_string(),
        "LoadBalancer epic-a/web: address 192.0.2.1 is not reserved: EPIC epic/epic was written at resourceVersion 7, but the \
         answer doesn't have the reservation: replace the /status subresource, and begin again with a new read"
    );
}

#[test]
fn id_is_too_high_for_the_pinger() {
    let high =
        |kind, parent: &str| HighId { kind, parent: parent.to_owned(), id: 32_768, last_readable: 32_767 };
    for (warning, text) in [
        (
            high(IdKind::Service, "Account epic-a/a"),
            "Account epic-a/a: service id 32768 is above 32767, the highest that PureLB's pinger reads: clients with that \
             pinger can't keep its tunnels open behind NAT: create new LoadBalancers in another Account",
        ),
        (
            high(IdKind::Group, "EPIC epic/epic"),
            "EPIC epic/epic: group id 32768 is above 32767, the highest that PureLB's pinger reads: clients with that pinger \
             can't keep its tunnels open behind NAT: use the pinger of Portreeve's client agent",
        ),
    ] {
        assert_eq!(warning.to_string(), text);
    }
}

#[test]
fn key_is_not_its_owners() {
    for (error, text) in [
        (
            KeyError::Taken { owner: lb("web"), holder: lb("dns") },
            "LoadBalancer epic-a/web: the new tunnel key is already that of LoadBalancer epic-a/dns: try other random bytes; \
             if it happens again, this machine's source of random bytes is broken",
        ),
        (
            KeyError::Zero { owner: lb("web") },
            "LoadBalancer epic-a/web: the new tunnel key is all zeros: this machine's source of random bytes is broken",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(
        SharedKey { holder: lb("dns"), owner: lb("web") }.to_string(),
        "LoadBalancer epic-a/web: its tunnel key is also that of LoadBalancer epic-a/dns, so either one's clients can send to \
         both: recreate LoadBalancer epic-a/web without spec.tunnel-key to get its own"
    );
}

#[test]
fn pool_is_refused() {
    assert_eq!(
        Pool::new("default", []).unwrap_err().to_string(),
        "ServicePrefix default has no addresses: set spec.pool to FROM-TO or a CIDR"
    );
    assert_eq!(
        Pool::new("default", [range("192.0.2.8/29"), range("192.0.2.0/28")]).unwrap_err().to_string(),
        "ServicePrefix default has some addresses twice: 192.0.2.0-192.0.2.15 and 192.0.2.8-192.0.2.15 overlap: change one of \
         them"
    );
    let (pool, other) = ("gold".to_owned(), "default".to_owned());
    let (range, other_range) = (range("192.0.2.8/29"), range("192.0.2.0/28"));
    assert_eq!(
        PoolError::Overlap { pool, range, other, other_range }.to_string(),
        "the pool 192.0.2.8-192.0.2.15 of ServicePrefix gold overlaps 192.0.2.0-192.0.2.15 of ServicePrefix default: change \
         spec.pool of one of them, because an address must be in one pool only"
    );
}

#[test]
fn owner_gets_no_address() {
    let no_pool = |known: &[&str]| {
        let known = known.iter().map(|name| (*name).to_owned()).collect();
        AddressError::NoPool { owner: lb("web"), pool: "gold".to_owned(), known }
    };
    for (error, text) in [
        (
            AddressError::Taken { owner: lb("web"), address: ip("192.0.2.1"), holder: lb("dns") },
            "LoadBalancer epic-a/web: address 192.0.2.1 is in use by LoadBalancer epic-a/dns: choose another \
             spec.public-address, or leave it empty to get a free one",
        ),
        (
            AddressError::Exhausted { owner: lb("web"), pool: "default".to_owned(), size: 4 },
            "LoadBalancer epic-a/web: pool default has no free address, all 4 are in use: widen spec.pool of ServicePrefix \
             default, or delete a LoadBalancer that has one of its addresses",
        ),
        (
            no_pool(&[]),
            "LoadBalancer epic-a/web: there is no address pool gold (there are none): create ServicePrefix gold, or name \
             another one",
        ),
        (
            no_pool(&["a", "b", "c", "d", "e", "f"]),
            "LoadBalancer epic-a/web: there is no address pool gold (there are: a, b, c, d, e, ...): create ServicePrefix \
             gold, or name another one",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
    let contest = Contest { address: ip("192.0.2.1"), keeper: lb("dns"), loser: lb("web") };
    assert_eq!(
        contest.to_string(),
        "LoadBalancer epic-a/web: its address 192.0.2.1 belongs to LoadBalancer epic-a/dns, which is older: choose another \
         spec.public-address, or recreate LoadBalancer epic-a/web without one to get a free one"
    );
}
