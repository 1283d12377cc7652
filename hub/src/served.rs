//! How much a hub serves ([`Served`]), for its metrics.

use std::collections::BTreeMap;

use portreeve_api::PlanType;
use portreeve_xds::{ResourceType, Snapshot, View};

use crate::index::{Census, Name};
use crate::pulse::Pulse;
use crate::watermark::Watermark;

/// How much a hub serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// What there is.
    pub census: Census,
    /// What each node with a connected agent has.
    pub agents: BTreeMap<Name, Share>,
    /// Resources that were published to agents since the start.
    pub pushed: u64,
    /// Changes of one node's resources that were published since the start.
    pub pushes: u64,
    /// Streams of agents.
    pub streams: usize,
    /// How the watches are.
    pub pulse: Pulse,
    /// How far this hub has seen.
    pub seen: Watermark,
}

/// What one node is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many resources.
    pub resources: usize,
    /// How many bytes they have as they go out.
    pub bytes: usize,
}

// === impl Share ===

impl Share {
    /// What a node with this view is served.
    pub fn of(view: &View<PlanType>) -> Self {
        view.snapshot(|all| {
            let sum = |count: fn(&Snapshot<PlanType>, PlanType) -> usize| {
                PlanType::ALL.iter().map(|ty| count(all, *ty)).sum()
            };
            Self { resources: sum(Snapshot::len), bytes: sum(Snapshot::bytes) }
        })
    }
}
