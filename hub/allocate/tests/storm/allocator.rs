//! One allocator, as a client of the simulated API server ([`Allocator`]). Between two steps anything may happen.

use portreeve_allocate::Owner;
use portreeve_allocate::addresses::{
    AddressBook, AddressDraw, AddressError, Claim, Parent as Pools, Pool, Request,
};
use portreeve_allocate::ids::{self, Answer, Draw, GroupId, Id, IdKind, Reading, ServiceId, TunnelId};
use portreeve_allocate::keys::{KeyError, Keys};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _};

use crate::server::{Child, Field, Parent, Refusal, Server, Value};

/// From how many children an allocator chooses the next: few, so that they meet.
const WINDOW: usize = 24;

/// A value that may not be used yet.
enum Drawn {
    Group(Draw<GroupId>),
    Service(Draw<ServiceId>),
    Tunnel(Draw<TunnelId>),
    Address(AddressDraw),
}

/// What the next step does.
#[derive(Default)]
enum State {
    /// Choose a child and one of its fields.
    #[default]
    Idle,
    /// Read the parent.
    Read { at: usize, field: Field },
    /// Read the children, and draw.
    Draw { at: usize, field: Field, parent: Parent },
    /// Store what the draw demands.
    Store { at: usize, field: Field, drawn: Drawn, parent: Parent },
    /// Read the child.
    Check { at: usize, field: Field, value: Value },
    /// Write the child.
    Write { at: usize, field: Field, value: Value, version: u64 },
}

/// An allocator: all of it is lost when it is killed.
pub struct Allocator {
    book: AddressBook,
    keys: Keys,
    /// How far the log is read. `None`: the children aren't listed yet.
    cursor: Option<usize>,
    state: State,
}

// === impl Allocator ===

impl Allocator {
    /// Starts with nothing but the pools.
    pub fn start(pools: &[Pool]) -> Self {
        let mut book = AddressBook::default();
        for pool in pools {
            book.set_pool(pool.clone()).unwrap_or_else(|error| panic!("{error}"));
        }
        Self { book, keys: Keys::default(), cursor: None, state: State::Idle }
    }

    /// Ends without a word. What is counted is for the test alone.
    pub fn kill(self, server: &mut Server) {
        server.saw("killed");
        if let State::Check { field: Field::Id(_), .. } | State::Write { field: Field::Id(_), .. } =
            self.state
        {
            let applied = match &self.state {
                State::Write { at, field, value, .. } | State::Check { at, field, value } => {
                    server.children[*at].fields.get(field) == Some(value)
                }
                _ => false,
            };
            if !applied {
                server.saw("id lost: killed");
            }
        }
    }

    /// Returns whether an id or an address is stored in its parent, but not yet in its child.
    pub fn is_between_writes(&self) -> bool {
        matches!(self.state, State::Check { .. } | State::Write { .. })
    }

    /// Returns whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Does one step: at most one request.
    pub fn step(&mut self, server: &mut Server, dice: &mut StdRng) {
        self.state = match std::mem::take(&mut self.state) {
            State::Idle => Self::choose(server, dice),
            State::Read { at, field: Field::Key } => self.make_key(at, server, dice),
            State::Read { at, field } => {
                let parent = server.parents[server.children[at].parent(field)].clone();
                State::Draw { at, field, parent }
            }
            State::Draw { at, field, parent } => self.draw((at, field), parent, server),
            State::Store { at, field, drawn, parent } => {
                Self::store((at, field), drawn, parent, server, dice)
            }
            State::Check { at, field, value } => Self::check((at, field), value, server),
            State::Write { at, field, value, version } => {
                match server.put_child((at, version), field, value, dice) {
                    Ok(()) => State::Idle,
                    Err(_) => State::Check { at, field, value },
                }
            }
        };
    }

    fn choose(server: &Server, dice: &mut StdRng) -> State {
        let at = server.open.iter().nth(dice.random_range(0..WINDOW)).or(server.open.first()).copied();
        let lacks = at.and_then(|at| Some((at, server.children[at].lacks()?)));
        lacks.map_or(State::Idle, |(at, field)| State::Read { at, field })
    }

    /// Learns of all children, and later of all changes since the last time.
    fn sync(&mut self, server: &Server) {
        match self.cursor {
            None => (0..server.children.len()).for_each(|at| self.learn(at, server)),
            Some(cursor) => server.log[cursor..].iter().for_each(|at| self.learn(*at, server)),
        }
        self.cursor = Some(server.log.len());
    }

    fn learn(&mut self, at: usize, server: &Server) {
        let child = &server.children[at];
        if child.deleted {
            self.book.release(&child.owner);
            self.keys.release(&child.owner);
            return;
        }
        if let Some(Value::Key(key)) = child.fields.get(&Field::Key) {
            self.keys.claim(&child.owner, *key).unwrap_or_else(|error| panic!("{error}"));
        }
        if let Some(Value::Address(address)) = child.fields.get(&Field::Address) {
            // The store may be newer than the event: then the earlier owner's deletion is still to come.
            let created = i64::try_from(at).ok();
            let claim = Claim { owner: child.owner.clone(), address: *address, created };
            let keeper = self.book.claim(claim).map(|contest| contest.keeper);
            assert!(keeper.is_none_or(|keeper| is_gone(&keeper, server)), "{}: {address}", child.owner);
        }
    }

    /// Makes a key. Sometimes the source of random bytes repeats a key that is stored.
    fn make_key(&mut self, at: usize, server: &mut Server, dice: &mut StdRng) -> State {
        self.sync(server);
        let child = &server.children[at];
        let mut random = [0; 16];
        dice.fill_bytes(&mut random);
        let other = &server.children[dice.random_range(0..server.children.len())];
        let repeated = other.fields.get(&Field::Key).filter(|_| !other.deleted && dice.random_bool(0.05));
        if let Some(Value::Key(key)) = repeated {
            random = *key.bytes();
        }
        match self.keys.allocate(&child.owner, random) {
            Ok(key) => State::Check { at, field: Field::Key, value: Value::Key(key) },
            Err(KeyError::Taken { .. }) => {
                server.saw("key refused");
                State::Idle
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn draw(&mut self, (at, field): (usize, Field), mut parent: Parent, server: &mut Server) -> State {
        self.sync(server);
        let child = server.children[at].clone();
        let drawn = match field {
            Field::Id(IdKind::Group) => Drawn::Group(draw_id(&child, field, &parent, server)),
            Field::Id(IdKind::Service) => Drawn::Service(draw_id(&child, field, &parent, server)),
            Field::Id(IdKind::Tunnel) => Drawn::Tunnel(draw_id(&child, field, &parent, server)),
            Field::Address | Field::Key => match self.reserve(&child, &mut parent, server) {
                Some(draw) => Drawn::Address(draw),
                None => return State::Idle,
            },
        };
        State::Store { at, field, drawn, parent }
    }

    fn reserve(&mut self, child: &Child, parent: &mut Parent, server: &mut Server) -> Option<AddressDraw> {
        parent.reserved.retain(|owner, _| !is_gone(owner, server));
        let request = Request { owner: child.owner.clone(), pool: None, wanted: child.wanted };
        let version = parent.version.to_string();
        let pools = Pools { name: crate::server::EPIC, version: &version, reserved: &parent.reserved };
        match self.book.reserve(&request, &pools) {
            Ok(draw) => Some(draw),
            Err(AddressError::Exhausted { .. }) => {
                server.saw("pool exhausted");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn store(
        (at, field): (usize, Field),
        drawn: Drawn,
        mut parent: Parent,
        server: &mut Server,
        dice: &mut StdRng,
    ) -> State {
        let (counter, version) = match &drawn {
            Drawn::Group(draw) => (draw.counter(), draw.version()),
            Drawn::Service(draw) => (draw.counter(), draw.version()),
            Drawn::Tunnel(draw) => (draw.counter(), draw.version()),
            Drawn::Address(draw) => {
                parent.reserved = draw.reserved().clone();
                (0, draw.version())
            }
        };
        assert_eq!(version, parent.version.to_string());
        if let Field::Id(kind) = field {
            parent.counters.insert(kind, counter);
        }
        let name = server.children[at].parent(field).to_owned();
        let lost = server.times("answer lost");
        match server.put_parent(&name, parent, dice) {
            Ok(answer) => State::Check { at, field, value: confirm(drawn, &answer) },
            Err(refusal) => {
                let applied = refusal == Refusal::NoAnswer && server.times("answer lost") > lost;
                if applied && matches!(field, Field::Id(_)) {
                    server.saw("id lost: no answer");
                }
                State::Read { at, field }
            }
        }
    }

    fn check((at, field): (usize, Field), value: Value, server: &mut Server) -> State {
        let child = &server.children[at];
        let found = child.fields.get(&field).copied();
        let (version, deleted) = (child.version, child.deleted);
        if found.is_none() && !deleted {
            return State::Write { at, field, value, version };
        }
        // An earlier write without an answer may have been applied.
        if found != Some(value) && matches!(field, Field::Id(_)) {
            server.saw(if deleted { "id lost: object gone" } else { "id lost: race" });
        }
        State::Idle
    }
}

/// Returns whether the object is deleted. Its name ends with its position.
fn is_gone(owner: &Owner, server: &Server) -> bool {
    let at: Option<usize> = owner.as_str().rsplit('-').next().and_then(|at| at.parse().ok());
    at.is_some_and(|at| server.children[at].deleted)
}

/// Draws an id. The child fails the test if its parent has none left.
fn draw_id<I: Id>(child: &Child, field: Field, parent: &Parent, server: &Server) -> Draw<I> {
    let (name, version) = (child.parent(field), parent.version.to_string());
    let counter = parent.counters.get(&I::KIND).copied();
    let reading = Reading { parent: name, version: &version, counter };
    let existing = server.highest(name, I::KIND).map(|id| (id, "the highest"));
    ids::draw(reading, existing).unwrap_or_else(|error| panic!("{error}"))
}

/// Takes the value out of a draw with the server's answer.
fn confirm(drawn: Drawn, answer: &Parent) -> Value {
    fn id<I: Id>(draw: Draw<I>, answer: &Parent) -> Value {
        let (version, counter) = (answer.version.to_string(), answer.counters.get(&I::KIND).copied());
        let stored = draw.confirm(Answer { version: &version, counter });
        Value::Id(stored.unwrap_or_else(|error| panic!("{error}")).into_id().number())
    }
    match drawn {
        Drawn::Group(draw) => id(draw, answer),
        Drawn::Service(draw) => id(draw, answer),
        Drawn::Tunnel(draw) => id(draw, answer),
        Drawn::Address(draw) => {
            let reserved = draw.confirm(&answer.reserved).unwrap_or_else(|error| panic!("{error}"));
            Value::Address(reserved.into_parts().1)
        }
    }
}
