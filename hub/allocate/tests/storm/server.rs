//! A simulated API server: parents and children with resourceVersions, refused and unanswered writes ([`Server`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use portreeve_allocate::Owner;
use portreeve_allocate::addresses::Reservations;
use portreeve_allocate::ids::IdKind;
use portreeve_api::c::tunnel_key::TunnelKey;
use rand::Rng as _;
use rand::rngs::StdRng;

/// The parent of all groups, tunnels and addresses.
pub const EPIC: &str = "EPIC epic/epic";

/// What a child needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    Id(IdKind),
    Key,
    Address,
}

/// What a child got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Id(u32),
    Key(TunnelKey),
    Address(IpAddr),
}

/// An object with counters and reservations in its status.
#[derive(Clone, Debug, Default)]
pub struct Parent {
    pub version: u64,
    pub counters: BTreeMap<IdKind, u32>,
    pub reserved: Reservations,
}

/// An object that gets ids, a key and an address: an Account or a LoadBalancer.
#[derive(Clone, Debug)]
pub struct Child {
    pub owner: Owner,
    /// The parent of its service id.
    pub account: String,
    pub version: u64,
    pub needs: &'static [Field],
    pub fields: BTreeMap<Field, Value>,
    pub wanted: Option<IpAddr>,
    pub deleted: bool,
}

/// Why a write has no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    Conflict,
    /// The write may have been applied.
    NoAnswer,
    Gone,
}

/// The stored objects, and all that was ever handed out.
pub struct Server {
    pub parents: BTreeMap<String, Parent>,
    pub children: Vec<Child>,
    /// The child of each change, in order.
    pub log: Vec<usize>,
    /// Children that lack a field.
    pub open: BTreeSet<usize>,
    /// Each id that was ever written into a child, by parent and kind.
    pub written: BTreeMap<(String, IdKind), BTreeSet<u32>>,
    keys: HashMap<TunnelKey, usize>,
    addresses: HashMap<IpAddr, usize>,
    released: BTreeSet<IpAddr>,
    /// How often what happened.
    pub seen: BTreeMap<&'static str, usize>,
    revision: u64,
}

// === impl Child ===

impl Child {
    /// Returns the first field that is needed and not there.
    pub fn lacks(&self) -> Option<Field> {
        self.needs.iter().find(|field| !self.fields.contains_key(field)).copied().filter(|_| !self.deleted)
    }

    /// Returns the parent that guards a field.
    pub fn parent(&self, field: Field) -> &str {
        if field == Field::Id(IdKind::Service) { &self.account } else { EPIC }
    }
}

// === impl Server ===

impl Server {
    pub fn new(parents: BTreeMap<String, Parent>) -> Self {
        Self {
            parents,
            children: Vec::new(),
            log: Vec::new(),
            open: BTreeSet::new(),
            written: BTreeMap::new(),
            keys: HashMap::new(),
            addresses: HashMap::new(),
            released: BTreeSet::new(),
            seen: BTreeMap::new(),
            revision: 1,
        }
    }

    pub fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub fn times(&self, what: &str) -> usize {
        self.seen.get(what).copied().unwrap_or_default()
    }

    /// Creates a child, perhaps with fields.
    pub fn create(&mut self, child: Child) {
        let at = self.children.len();
        for (field, value) in child.fields.clone() {
            self.record(at, &child, field, value);
        }
        self.children.push(child);
        self.changed(at);
    }

    pub fn delete(&mut self, at: usize) {
        let child = &mut self.children[at];
        child.deleted = true;
        if let Some(Value::Address(address)) = child.fields.get(&Field::Address) {
            self.addresses.remove(address);
            self.released.insert(*address);
        }
        self.changed(at);
    }

    /// Replaces a parent's status.
    pub fn put_parent(&mut self, name: &str, new: Parent, dice: &mut StdRng) -> Result<Parent, Refusal> {
        let stored = &self.parents[name];
        if stored.version != new.version {
            self.saw("conflict");
            return Err(Refusal::Conflict);
        }
        self.luck(dice)?;
        self.revision += 1;
        let new = Parent { version: self.revision, ..new };
        self.parents.insert(name.to_owned(), new.clone());
        self.answered(dice).map(|()| new)
    }

    /// Writes a field of a child.
    pub fn put_child(
        &mut self,
        (at, version): (usize, u64),
        field: Field,
        value: Value,
        dice: &mut StdRng,
    ) -> Result<(), Refusal> {
        if self.children[at].deleted {
            return Err(Refusal::Gone);
        }
        if self.children[at].version != version {
            self.saw("conflict");
            return Err(Refusal::Conflict);
        }
        self.luck(dice)?;
        let child = self.children[at].clone();
        assert!(!child.fields.contains_key(&field), "{}: {field:?} is immutable", child.owner);
        self.record(at, &child, field, value);
        self.children[at].fields.insert(field, value);
        self.changed(at);
        self.answered(dice)
    }

    /// Returns the highest id that a child has or had.
    pub fn highest(&self, parent: &str, kind: IdKind) -> Option<u32> {
        self.written.get(&(parent.to_owned(), kind))?.last().copied()
    }

    /// Fails if another child has the value, or ever had the id.
    fn record(&mut self, at: usize, child: &Child, field: Field, value: Value) {
        match (field, value) {
            (Field::Id(kind), Value::Id(id)) => {
                let ids = self.written.entry((child.parent(field).to_owned(), kind)).or_default();
                assert!(ids.insert(id), "{}: {kind} {id} was handed out before", child.owner);
            }
            (Field::Key, Value::Key(key)) => {
                assert_eq!(self.keys.insert(key, at), None, "{}: the key is another's", child.owner);
            }
            (Field::Address, Value::Address(address)) => {
                let other = self.addresses.insert(address, at);
                assert_eq!(other, None, "{}: {address} is another's", child.owner);
                if self.released.remove(&address) {
                    self.saw("address reused");
                }
            }
            (field, value) => panic!("{field:?} can't be {value:?}"),
        }
    }

    fn changed(&mut self, at: usize) {
        self.revision += 1;
        self.children[at].version = self.revision;
        self.log.push(at);
        match self.children[at].lacks() {
            Some(_) => self.open.insert(at),
            None => self.open.remove(&at),
        };
    }

    /// Refuses some writes.
    fn luck(&mut self, dice: &mut StdRng) -> Result<(), Refusal> {
        match dice.random_range(0..200) {
            0..10 => {
                self.saw("injected conflict");
                Err(Refusal::Conflict)
            }
            10 => {
                self.saw("request lost");
                Err(Refusal::NoAnswer)
            }
            _ => Ok(()),
        }
    }

    /// Loses some answers to writes that were applied.
    fn answered(&mut self, dice: &mut StdRng) -> Result<(), Refusal> {
        if dice.random_range(0..200) > 0 {
            return Ok(());
        }
        self.saw("answer lost");
        Err(Refusal::NoAnswer)
    }
}
