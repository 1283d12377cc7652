//! The events and actions of a proxy's machine.

use std::time::Duration;

use crate::spec::Order;
use crate::state::Exit;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time has passed. The machine tells when the next tick is due.
    Tick,
    /// Envoy ended, or could not be started.
    Exited(Exit),
    /// Envoy's admin interface answered.
    Answered,
    /// Envoy has its configuration and serves.
    Live,
    /// The heir (the new Envoy of a hot restart) ended, or could not be started.
    HeirExited(Exit),
    /// The heir's admin interface answered.
    HeirAnswered,
    /// The heir has its configuration, and tells the old Envoy to end.
    HeirLive,
    /// A hot restart from the running Envoy is impossible, because the two builds aren't compatible.
    Strangers,
    /// Envoy's file was replaced since the running Envoy started.
    Renewed,
    /// The agent sent this order.
    Ordered(Order),
    /// Envoy ended because an Envoy of another keeper has hot-restarted from it.
    Succeeded,
    /// The proxy should end, and an Envoy of another keeper is about to hot-restart from it. Envoy then ends by that.
    Yield,
    /// The agent, the keeper's parent or a signal ends the proxy, with this drain time.
    Stop(Duration),
}

/// An action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start Envoy with the order in use.
    Spawn,
    /// Start an heir in parallel, with the order in use.
    SpawnHeir,
    /// Send SIGKILL to the heir.
    KillHeir,
    /// The heir becomes the proxy's Envoy, because the old one has ended.
    Inherit,
    /// Ask Envoy to drain its listeners.
    Drain,
    /// Send SIGTERM to Envoy.
    Terminate,
    /// Send SIGKILL to Envoy.
    Kill,
    /// No Envoy is running or wanted: the keeper ends.
    Finish,
}
