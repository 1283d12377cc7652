//! Eight allocators in a storm of conflicts, lost answers and kills (rows C6, C18, C34): nothing is handed out twice, and every
//! gap in the ids has its cause.

mod allocator;
mod server;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use portreeve_allocate::Owner;
use portreeve_allocate::addresses::{DEFAULT_POOL, Pool};
use portreeve_allocate::ids::IdKind;
use portreeve_api::c::range::Range;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use allocator::Allocator;
use server::{Child, EPIC, Field, Parent, Server, Value};

const ALLOCATORS: usize = 8;
const OBJECTS: usize = 10_000;
const ACCOUNTS: usize = 20;
/// How many objects are deleted while others are created.
const DELETED: usize = 1_500;
/// Fewer addresses than objects are created in all, so that released ones must be used again.
const ADDRESSES: u32 = 10_200;
/// Objects that are older than the counters.
const OLD: usize = 200;

/// The highest id that exists at the start, by parent and kind.
type Starts = BTreeMap<(String, IdKind), u32>;

fn account(at: usize) -> String {
    format!("Account epic-{0}/{0}", at % ACCOUNTS)
}

fn mk_load_balancer(at: usize) -> Child {
    let needs = &[Field::Id(IdKind::Service), Field::Address, Field::Id(IdKind::Tunnel), Field::Key];
    // An address that the user gave, in no pool.
    let given = || IpAddr::from(Ipv4Addr::from_bits(0xcb00_0000 + u32::try_from(at).unwrap_or_default()));
    Child {
        owner: Owner::new("LoadBalancer", &format!("epic-{}", at % ACCOUNTS), &format!("lb-{at}")),
        account: account(at),
        version: 0,
        needs,
        fields: BTreeMap::new(),
        wanted: at.is_multiple_of(50).then(given),
        deleted: false,
    }
}

fn mk_account(at: usize) -> Child {
    let owner = Owner::new("Account", &format!("epic-{at}"), &format!("{at}-{at}"));
    let (account, fields) = (account(at), BTreeMap::new());
    let needs = &[Field::Id(IdKind::Group)];
    Child { owner, account, version: 0, needs, fields, wanted: None, deleted: false }
}

/// Accounts without a counter, with one below their objects' ids, and with one above.
fn mk_server() -> (Server, Starts) {
    let mut parents = BTreeMap::from([(EPIC.to_owned(), Parent { version: 1, ..Parent::default() })]);
    for at in 0..ACCOUNTS {
        let counter = [None, Some(3), Some(100)][at % 3];
        let counters = counter.map(|counter| (IdKind::Service, counter)).into_iter().collect();
        parents.insert(account(at), Parent { version: 1, counters, ..Parent::default() });
    }
    let mut server = Server::new(parents);
    (0..ACCOUNTS).for_each(|at| server.create(mk_account(at)));
    for at in ACCOUNTS..OBJECTS {
        let mut child = mk_load_balancer(at);
        if at < ACCOUNTS + OLD {
            let id = u32::try_from(at / ACCOUNTS * 2).unwrap_or_default();
            child.fields.insert(Field::Id(IdKind::Service), Value::Id(id));
        }
        server.create(child);
    }
    let parents = server.parents.iter().flat_map(|(name, parent)| {
        [IdKind::Group, IdKind::Service, IdKind::Tunnel].map(|kind| {
            let counter = parent.counters.get(&kind).copied().unwrap_or_default();
            ((name.clone(), kind), counter.max(server.highest(name, kind).unwrap_or_default()))
        })
    });
    let starts = parents.collect();
    (server, starts)
}

fn mk_pool() -> Pool {
    let from = 0x0a00_0000;
    let (from, to) = (Ipv4Addr::from_bits(from), Ipv4Addr::from_bits(from + ADDRESSES - 1));
    let range = Range::new(from.into(), to.into()).unwrap_or_else(|error| panic!("{error}"));
    Pool::new(DEFAULT_POOL, [range]).unwrap_or_else(|error| panic!("{error}"))
}

/// Deletes an object and creates another one.
fn replace(server: &mut Server, dice: &mut StdRng) {
    // Often one that an allocator works on.
    let near = server.open.first().copied().unwrap_or(server.children.len() - 1);
    let at = match dice.random_bool(0.3) {
        true => (near + dice.random_range(0..24)).min(server.children.len() - 1),
        false => dice.random_range(ACCOUNTS..server.children.len()),
    };
    if at >= ACCOUNTS && !server.children[at].deleted {
        server.delete(at);
        server.saw("deleted");
        server.create(mk_load_balancer(server.children.len()));
    }
}

fn run(server: &mut Server, dice: &mut StdRng) {
    let pools = [mk_pool()];
    let mut allocators: Vec<Allocator> = (0..ALLOCATORS).map(|_| Allocator::start(&pools)).collect();
    for _ in 0..20_000_000_u32 {
        let done = server.open.is_empty() && server.times("deleted") >= DELETED;
        if done && allocators.iter().all(Allocator::is_idle) {
            return;
        }
        if server.times("deleted") < DELETED && dice.random_range(0..100) == 0 {
            replace(server, dice);
        }
        let at = dice.random_range(0..ALLOCATORS);
        let odds = if allocators[at].is_between_writes() { 1_500 } else { 10_000 };
        if dice.random_range(0..odds) == 0 {
            std::mem::replace(&mut allocators[at], Allocator::start(&pools)).kill(server);
        }
        allocators[at].step(server, dice);
    }
    panic!("{} objects still lack something: {:?}", server.open.len(), server.seen);
}

/// Returns the ids that were stored in a counter and are in no object.
fn gaps(server: &Server, starts: &Starts) -> usize {
    let gaps = starts.iter().map(|((parent, kind), start)| {
        let counter = server.parents[parent].counters.get(kind).copied().unwrap_or_default().max(*start);
        let written = server.written.get(&(parent.clone(), *kind));
        let written = written.map_or(0, |ids| ids.range(start + 1..).count());
        assert!(server.highest(parent, *kind).is_none_or(|highest| highest <= counter), "{parent}: {kind}");
        usize::try_from(counter - start).unwrap_or(usize::MAX) - written
    });
    gaps.sum()
}

/// Returns the number of distinct values of a field.
fn distinct(server: &Server, field: Field) -> usize {
    let living = server.children.iter().filter(|child| !child.deleted);
    let values = living.filter_map(|child| Some((child.parent(field), child.fields.get(&field)?)));
    values.collect::<std::collections::HashSet<_>>().len()
}

#[test]
fn nothing_is_handed_out_twice_and_every_gap_has_a_cause() {
    let seed = std::env::var("STORM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(6);
    println!("STORM_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let (mut server, starts) = mk_server();
    run(&mut server, &mut dice);

    println!("{:#?}", server.seen);
    let (living, accounts) = (OBJECTS, ACCOUNTS);
    assert_eq!(server.children.iter().filter(|child| !child.deleted).count(), living);
    assert_eq!(distinct(&server, Field::Id(IdKind::Group)), accounts);
    for field in [Field::Id(IdKind::Service), Field::Id(IdKind::Tunnel), Field::Key, Field::Address] {
        assert_eq!(distinct(&server, field), living - accounts, "{field:?}");
    }

    let causes = ["id lost: killed", "id lost: no answer", "id lost: race", "id lost: object gone"];
    let explained: usize = causes.iter().map(|cause| server.times(cause)).sum();
    println!("{} gaps, {explained} causes", gaps(&server, &starts));
    assert_eq!(gaps(&server, &starts), explained);
    let others = ["killed", "conflict", "injected conflict", "address reused", "key refused", "answer lost"];
    for happened in causes.iter().chain(&others) {
        assert!(server.times(happened) > 10, "{happened}: {} times", server.times(happened));
    }
}
