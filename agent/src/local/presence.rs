//! Holders of ports on the host's network, and the time after which disconnected proxies stop counting as
//! present.

use std::collections::BTreeMap;
use std::time::Instant;

use portreeve_agent_core::claims::strangers::Strangers;
use portreeve_agent_core::world::World;
use portreeve_xds::{Name, Peer};

use super::Local;
use crate::supervisor::Embodiment;

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
    /// Sets the ports of the host's network that other processes hold now. Notifies watching tasks only if
    /// this concerns a listener.
    pub(crate) fn set_strangers(&self, strangers: Strangers) {
        let mut inner = self.lock();
        if inner.world.concerned_by(&strangers).is_empty() {
            return inner.world.note_strangers(strangers);
        }
        drop(inner);
        self.change(|world| world.set_strangers(strangers));
    }

    /// Ends the presence of disconnected proxies that have not reconnected in time. Never returns.
    pub async fn keep_presumptions(&self) {
        loop {
            let due = self.lock().world.presumed_until();
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
            inner.world.presume_no_more(Instant::now());
            self.settle(&mut inner);
            drop(inner);
            self.generation.send_modify(|n| *n += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_agent_core::fleet::Announced;
    use portreeve_agent_core::translate::Families;
    use portreeve_agent_core::world::World;
    use portreeve_api::pod::Pod;
    use portreeve_api::refs::ProxyId;
    use portreeve_envoy::{Envoy, registry};
    use serde_json::json;

    use crate::identity::cgroup::{Membership, membership};

    /// The kubelet names a static pod's cgroup by the hash of its manifest. The API server's mirror pod has
    /// its own uid.
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
        let mut world = World::new(registry::fleets(), Families::V4);
        let Membership::Pod(seen) = membership(&format!("0::/kubepods/burstable/pod{hash}/{:064x}\n", 1))
        else {
            panic!("no pod");
        };
        let proxy = ProxyId::Pod(seen.into());
        assert_eq!(world.embodied(&proxy), proxy, "not known yet");
        let pod = Pod::from_kube(serde_json::from_value(mirror).unwrap()).unwrap();
        let known = ProxyId::Pod(pod.uid.clone());
        world.apply_pod(pod);
        assert_eq!(world.embodied(&proxy), known);
        assert!(
            world.open::<Envoy>(&known, &Announced::default()).is_some()
                && world.open::<Envoy>(&proxy, &Announced::default()).is_none()
        );
    }
}
