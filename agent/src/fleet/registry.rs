//! Which kinds of proxies this agent serves. A kind is added by a row here, and by its folder in `translate`.

use portreeve_xds::envoy::EnvoyType;

use super::Fleets;

/// An empty fleet of each kind.
pub fn fleets() -> Fleets {
    Fleets::default().with::<EnvoyType>()
}
