//! Who is there: the pods that embody NodeProxies, and the proxies that are presumed to be there while they have no stream.

use std::collections::BTreeMap;
use std::time::Instant;

use portreeve_xds::{Name, Peer};

use super::Local;
use crate::keepers::pods::Embodiment;
use crate::world::{ProxyId, World};

/// The NodeProxy that a pod embodies, in its place.
pub(super) fn embodied(world: &World, id: &ProxyId) -> ProxyId {
    match id {
        ProxyId::Pod(uid) => {
            world.embodied_by(uid).map_or_else(|| id.clone(), |name| ProxyId::Node(name.into()))
        }
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
