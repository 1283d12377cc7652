//! The proxies of one kind on this node ([`Fleet`]): what each is sent, what it accepted, and its ACKs and
//! NACKs.
//!
//! This module is pure. A fleet is generic over its [`ProxyModel`](crate::translate::ProxyModel). The world
//! holds all of them as [`Fleets`] and uses them through four traits without a type parameter: [`Roster`]
//! (the proxies), [`Memory`] (what they accepted), [`Presence`] (which are connected) and [`Standing`] (their
//! progress).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

mod accepted;
mod announced;
mod answers;
mod backing;
mod contribution;
mod facts;
mod fleets;
mod former;
mod inputs;
mod ledger;
mod memory;
mod page;
mod presence;
mod proxy;
mod refresh;
mod roster;
mod standing;
mod surroundings;
#[cfg(test)]
mod test_model;

pub use accepted::{Accepted, Kept};
pub use announced::Announced;
pub use answers::{Answers, Refusal, Tally};
pub use contribution::{Contribution, Findings};
pub use facts::{Allowed, Facts};
pub use fleets::{AnyFleet, Fleets};
pub use inputs::Inputs;
pub use memory::{Memory, Unsaved};
pub use presence::{Counts, Presence};
pub use proxy::Proxy;
pub use roster::Roster;
pub use standing::{Progress, Report, Stand, Standing};
pub use surroundings::{Fault, Surroundings};

use ledger::Ledger;

/// The proxies of one kind.
pub struct Fleet<T> {
    proxies: BTreeMap<ProxyId, Proxy<T>>,
    /// The resources that each proxy accepted, including proxies that have not connected yet.
    ledgers: BTreeMap<ProxyId, Ledger<T>>,
    /// Proxies and Plans whose ledger entry changed since it was last saved.
    unsaved: BTreeSet<(ProxyId, Name)>,
    /// The hub has sent everything. Until then, proxies may have newer resources than the store.
    caught_up: bool,
    /// Facts of the proxies that pods without a proxy of this kind would have, by pod uid.
    bare: HashMap<Name, Facts>,
    streams: HashMap<u64, ProxyId>,
    answers: BTreeMap<ProxyId, Answers<T>>,
    /// Until when disconnected proxies count as running what they accepted.
    presumed: BTreeMap<ProxyId, Instant>,
    tally: Tally,
    /// Number of translations so far.
    translated: u64,
}

// === impl Fleet ===

impl<T> Default for Fleet<T> {
    fn default() -> Self {
        Self {
            proxies: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            caught_up: false,
            bare: HashMap::new(),
            streams: HashMap::new(),
            answers: BTreeMap::new(),
            presumed: BTreeMap::new(),
            tally: Tally::default(),
            translated: 0,
        }
    }
}

impl<T> Fleet<T> {
    /// Returns the proxies.
    pub fn proxies(&self) -> &BTreeMap<ProxyId, Proxy<T>> {
        &self.proxies
    }

    /// Returns each proxy's ACKs and NACKs.
    pub fn answers(&self) -> &BTreeMap<ProxyId, Answers<T>> {
        &self.answers
    }
}
