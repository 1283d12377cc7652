//! The amount of resources that a hub serves ([`Served`]), for metrics.

use std::collections::BTreeMap;

use portreeve_api::PlanType;
use portreeve_xds::{ResourceType, Snapshot, View};

use crate::index::{Census, Name};
use crate::pulse::Pulse;
use crate::watermark::Watermark;

/// The amount of resources that a hub serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Number of objects by kind.
    pub census: Census,
    /// The resources of each node with a connected agent.
    pub agents: BTreeMap<Name, Share>,
    /// Number of resources published to agents since the start.
    pub pushed: u64,
    /// Number of published changes since the start, each of one node's resources.
    pub pushes: u64,
    /// Number of agents' streams.
    pub streams: usize,
    /// State of the watches.
    pub pulse: Pulse,
    /// The latest resourceVersions that this hub has seen.
    pub seen: Watermark,
}

/// The resources of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Number of resources.
    pub resources: usize,
    /// Size of the encoded resources in bytes.
    pub bytes: usize,
}

// === impl Share ===

impl Share {
    /// Returns the share of a node with this view.
    pub fn of(view: &View<PlanType>) -> Self {
        view.snapshot(|all| {
            let sum = |count: fn(&Snapshot<PlanType>, PlanType) -> usize| {
                PlanType::ALL.iter().map(|ty| count(all, *ty)).sum()
            };
            Self { resources: sum(Snapshot::len), bytes: sum(Snapshot::bytes) }
        })
    }
}
