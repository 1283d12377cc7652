//! One proxy as the agent sees it: what is wanted of it, and how it is ([`Status`]).

use portreeve_api::keeper_state::State;

/// What an agent wants of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is to run.
    Running,
    /// It is to end.
    Stopped,
    /// Nobody said: a keeper of an earlier agent.
    Unknown,
}

/// One proxy as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What is wanted.
    pub wanted: Wanted,
    /// Whether its keeper is attached to this agent.
    pub attached: bool,
    /// Whether the attached keeper uses the wanted spec.
    pub current: bool,
    /// The keeper's last word: its report, or before it attached its file; [`None`] when there never was one.
    pub state: Option<State>,
    /// What is wrong with the keeper itself, in one line.
    pub fault: Option<String>,
}
