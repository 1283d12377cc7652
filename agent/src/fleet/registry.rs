//! The kinds of proxies that this agent serves. To add a kind, add a row here and a folder in `translate`.

use portreeve_xds::envoy::EnvoyType;

use super::Fleets;

/// Returns an empty fleet of each kind.
pub fn fleets() -> Fleets {
    Fleets::default().with::<EnvoyType>()
}
