//! What a proxy's machine is told, and what it asks for.

use std::time::Duration;

use crate::spec::Order;
use crate::state::Exit;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time passed; due when the machine says so.
    Tick,
    /// Envoy ended, or could not be started.
    Exited(Exit),
    /// Envoy's admin interface answered.
    Answered,
    /// Envoy has its configuration and serves.
    Live,
    /// The heir ended, or could not be started.
    HeirExited(Exit),
    /// The heir has its configuration, and tells the elder to end.
    HeirLive,
    /// No heir can take over from the Envoy that runs: their hot restarts are not of the same kind.
    Strangers,
    /// Envoy's file is another one than that which runs.
    Renewed,
    /// The agent wants this.
    Ordered(Order),
    /// Envoy ended because one that another keeper keeps has taken over from it.
    Succeeded,
    /// The end is wanted, and one that another keeper keeps is about to take over: Envoy is left to end by that.
    Yield,
    /// The agent, the keeper's parent or a signal wants the end, with so long a drain.
    Stop(Duration),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start Envoy with the order in use.
    Spawn,
    /// Start an heir beside it, with the order in use.
    SpawnHeir,
    /// SIGKILL to the heir.
    KillHeir,
    /// The heir is the proxy now: the elder is gone.
    Inherit,
    /// Ask Envoy to drain its listeners.
    Drain,
    /// SIGTERM to Envoy.
    Terminate,
    /// SIGKILL to Envoy.
    Kill,
    /// No Envoy is left and none is wanted: the keeper ends.
    Finish,
}
