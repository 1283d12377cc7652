//! The proxies of one kind on this node ([`Fleet`]): what each is sent, what it accepted, and what it says.
//!
//! Pure. A fleet is generic over its [`ProxyModel`](crate::translate::ProxyModel); the world holds all of them as
//! [`Fleets`] and drives them without a type, by four traits: [`Roster`] (which proxies there are), [`Memory`] (what they
//! accepted), [`Presence`] (which are connected) and [`Standing`] (how far they are). [`registry`] lists the kinds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

mod accepted;
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
pub mod registry;
mod roster;
mod standing;
mod surroundings;

pub use accepted::{Accepted, Kept};
pub use answers::{Answers, Refusal, Tally};
pub use contribution::{Contribution, Findings};
pub use facts::{Allowed, Facts};
pub use fleets::{AnyFleet, Fleets};
#[cfg(test)]
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
    /// What each proxy accepted, also of proxies that have not connected yet.
    ledgers: BTreeMap<ProxyId, Ledger<T>>,
    /// Proxies and Plans whose ledger entry changed since it was last saved.
    unsaved: BTreeSet<(ProxyId, Name)>,
    /// Pods that never had a proxy of this kind, as their proxy would be.
    bare: HashMap<Name, Facts>,
    streams: HashMap<u64, ProxyId>,
    answers: BTreeMap<ProxyId, Answers<T>>,
    /// Until when proxies without a stream are presumed to run what they accepted.
    presumed: BTreeMap<ProxyId, Instant>,
    tally: Tally,
    /// Translations so far.
    #[cfg(test)]
    translated: usize,
}

// === impl Fleet ===

impl<T> Default for Fleet<T> {
    fn default() -> Self {
        Self {
            proxies: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            bare: HashMap::new(),
            streams: HashMap::new(),
            answers: BTreeMap::new(),
            presumed: BTreeMap::new(),
            tally: Tally::default(),
            #[cfg(test)]
            translated: 0,
        }
    }
}

impl<T> Fleet<T> {
    /// The proxies.
    pub fn proxies(&self) -> &BTreeMap<ProxyId, Proxy<T>> {
        &self.proxies
    }

    /// What each proxy said.
    pub fn answers(&self) -> &BTreeMap<ProxyId, Answers<T>> {
        &self.answers
    }
}
