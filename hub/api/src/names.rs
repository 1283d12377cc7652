//! Names of the plan's resources: qualified, so that nothing has to be unique across custom resources.

use std::sync::Arc;

use crate::plan::Origin;

/// A Plan's name: `<api>/<namespace>/<object>`. No origin (never sent by a hub) gives an empty name.
pub fn plan_name(origin: Option<&Origin>) -> Arc<str> {
    origin.map_or_else(|| "".into(), |o| format!("{}/{}/{}", o.api, o.namespace, o.name).into())
}

/// The name of slice `index` of a group that is cut into `shards`: `<group>#<shards>.<index>`.
pub fn slice_name(group: &str, shards: usize, index: usize) -> Arc<str> {
    format!("{group}#{shards}.{index}").into()
}

/// The name of a Probe: `<pod uid>:<port>[<path>]`, the path with its leading slash.
pub fn probe_name(uid: &str, port: u32, path: &str) -> Arc<str> {
    format!("{uid}:{port}{path}").into()
}

/// The name in the node's `id` by which a supervised Envoy is told from a pod's: `nodeproxy/<name>`.
pub const NODE_PROXY_ID: &str = "nodeproxy/";

/// Key in an agent's node metadata under which it tells the hub how far it has seen (the hub's watermark).
pub const WATERMARK_KEY: &str = "watermark";

/// The name that the certificate of every hub replica is good for, whatever its address.
pub const HUB_NAME: &str = "portreeve-hub";

/// The audience of the tokens that agents show to the hub.
pub const HUB_AUDIENCE: &str = "portreeve-hub";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_qualified() {
        let origin =
            Origin { api: "A".into(), namespace: "ns".into(), name: "call".into(), ..Default::default() };
        assert_eq!(&*plan_name(Some(&origin)), "A/ns/call");
        assert_eq!(&*slice_name("ns/app=w", 4, 3), "ns/app=w#4.3");
        assert_eq!(&*probe_name("u-1", 9, ""), "u-1:9");
        assert_eq!(&*probe_name("u-1", 80, "/live"), "u-1:80/live");
    }
}
