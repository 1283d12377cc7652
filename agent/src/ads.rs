//! The xDS server for this node's Envoys: [`serve`].

use std::sync::Arc;

use portreeve_envoy::Envoy;
use portreeve_xds::{Limits, routes};
use tonic::service::Routes;

use crate::local::Local;

/// Returns Envoy's discovery services.
pub fn serve(local: Arc<Local>, limits: Limits) -> Routes {
    routes::<Envoy, Local>(local, limits)
}
