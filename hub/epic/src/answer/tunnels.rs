//! A load balancer's tunnels in both forms: [`in_both_forms`] (seed C.6 "Tunnels in status or spec").

use std::collections::BTreeMap;

use portreeve_api::c::tunnel::{self, TunnelEndpoint};
use serde_json::{Value, json};

const FIELD: &str = "gue-tunnel-endpoints";

/// Adds the later form of the status's tunnels to the spec, unless the spec has tunnels of its own. Tunnels that can't be
/// read are left out.
pub(super) fn in_both_forms(mut object: Value) -> Value {
    let stored = object.get("status").and_then(|status| status.get(FIELD)).and_then(Value::as_object);
    let read = |endpoint: &Value| serde_json::from_value::<TunnelEndpoint>(endpoint.clone()).ok();
    let tunnels: BTreeMap<_, _> =
        stored.into_iter().flatten().filter_map(|(node, one)| Some((node.clone(), read(one)?))).collect();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return object };
    let has_own = spec.get(FIELD).and_then(Value::as_object).is_some_and(|own| !own.is_empty());
    if !has_own && !tunnels.is_empty() {
        spec.insert(FIELD.into(), json!(tunnel::in_spec(&tunnels)));
    }
    object
}
