//! The kinds of proxies that this agent serves. To add a kind, add a row here and its translation.

use portreeve_agent_core::fleet::Fleets;
use portreeve_agent_core::translate::l7mp::L7mp;

use crate::Envoy;

/// Returns an empty fleet of each kind.
pub fn fleets() -> Fleets {
    Fleets::default().with::<Envoy>().with::<L7mp>()
}
