//! Who is there: the pods that embody NodeProxies, and the proxies that are presumed to be there while they have no stream.

use std::collections::BTreeMap;
use std::time::Instant;

use portreeve_xds::{Name, Peer};

use super::Local;
use crate::keepers::pods::Embodiment;
use crate::world::{ProxyId, Strangers, World};

/// The NodeProxy that a pod embodies, in its place; a static pod's mirror in the place of the static pod.
pub(super) fn embodied(world: &World, id: &ProxyId) -> ProxyId {
    match id {
        ProxyId::Pod(uid) => match (world.embodied_by(uid), world.mirror_of(uid)) {
            (Some(name), _) => ProxyId::Node(name.into()),
            (None, Some(mirror)) => ProxyId::Pod(mirror),
            (None, None) => id.clone(),
        },
        ProxyId::Node(_) => id.clone(),
    }
}

impl Embodiment for Local {
    fn pod_of(&self, peer: &Peer) -> Option<(Name, String)> {
        let uid = self.door.pod(peer)?;
        let proxy = self.read(|world| world.embodied_by(&uid).map(ToOwned::to_owned))?;
        Some((uid, proxy))
    }

    fn leaders(&self) -> BTreeMap<String, Name> {
        self.read(World::leaders)
    }
}

// === impl Local ===

impl Local {
    /// Takes the ports of the host's network that strangers hold now. Everybody is told where that concerns a listener.
    pub(crate) fn set_strangers(&self, strangers: Strangers) {
        let mut inner = self.lock();
        if inner.world.concerned_by(&strangers).is_empty() {
            return inner.world.note_strangers(strangers);
        }
        drop(inner);
        self.change(|world| world.set_strangers(strangers));
    }

    /// Ends the presumptions that proxies without a stream are there, in time, for ever.
    pub async fn keep_presumptions(&self) {
        loop {
            let due = self.lock().presumed.values().min().copied();
            let over = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.presumptions.notified() => continue,
                () = over => {}
            }
            let mut inner = self.lock();
            let alone = inner.presume_no_more(Instant::now());
            alone.iter().for_each(|id| self.touch_proxy(&mut inner, id));
            drop(inner);
            self.generation.send_modify(|n| *n += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::pod::Pod;
    use serde_json::json;

    use super::embodied;
    use crate::identity::cgroup::{Place, place};
    use crate::translate::Families;
    use crate::world::{ProxyId, World};

    /// A kubelet names a static pod's cgroup by the hash of its file; the API server's mirror of it has a uid of its own.
    #[test]
    fn process_of_a_static_pod_is_its_mirrors_proxy() {
        let hash = "0123456789abcdef0123456789abcdef";
        let mirror = json!({
            "metadata": {"name": "proxy-n1", "namespace": "ns", "uid": "0a1b2c3d-1111-2222-3333-444455556666",
                "annotations": {"kubernetes.io/config.source": "file", "kubernetes.io/config.hash": hash,
                    "kubernetes.io/config.mirror": hash},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "nu", "controller": true}]},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        });
        let mut world = World::new(Families::V4);
        let Place::Pod(seen) = place(&format!("0::/kubepods/burstable/pod{hash}/{:064x}\n", 1)) else {
            panic!("no pod");
        };
        let proxy = ProxyId::Pod(seen.into());
        assert_eq!(embodied(&world, &proxy), proxy, "not known yet");
        let pod = Pod::from_kube(serde_json::from_value(mirror).unwrap()).unwrap();
        let known = ProxyId::Pod(pod.uid.clone());
        world.apply_pod(pod);
        assert_eq!(embodied(&world, &proxy), known);
        assert!(world.open(&known).is_some() && world.open(&proxy).is_none());
    }
}
