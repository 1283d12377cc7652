//! Gateways in pods: which NodeProxy a pod embodies ([`World::embodied_by`]), and which of its pods is to run it
//! ([`World::leaders`]).

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::pod::Pod;
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use super::World;
use super::account::{Account, Tenant};

// === impl World ===

impl World {
    /// The same world, where pods of this ServiceAccount embody NodeProxies.
    #[must_use]
    pub fn with_gateways(self, gateways: Option<Account>) -> Self {
        Self { gateways, ..self }
    }

    /// The NodeProxy that this pod of the node embodies.
    pub fn embodied_by(&self, uid: &str) -> Option<&str> {
        self.gateways.as_ref()?.embodied_by(self.pods.get(uid)?)
    }

    /// The NodeProxy that a pod embodies, in its place; a static pod's mirror in the place of the static pod.
    pub fn embodied(&self, id: &ProxyId) -> ProxyId {
        match id {
            ProxyId::Pod(uid) => match (self.embodied_by(uid), self.mirror_of(uid)) {
                (Some(name), _) => ProxyId::Node(name.into()),
                (None, Some(mirror)) => ProxyId::Pod(mirror),
                (None, None) => id.clone(),
            },
            ProxyId::Node(_) => id.clone(),
        }
    }

    /// The pods on the host's network that embody NodeProxies, and have not run to their end.
    pub fn gateways_on_host(&self) -> BTreeSet<Name> {
        let Some(account) = &self.gateways else { return BTreeSet::new() };
        let there = self.pods.values().filter(|pod| pod.host_network && !pod.finished);
        there.filter(|pod| account.embodied_by(pod).is_some()).map(|pod| pod.uid.clone()).collect()
    }

    /// What the pod whose cgroup has this uid may have to do with the host's ports.
    pub fn tenant(&self, uid: &str) -> Tenant {
        let uid = self.mirror_of(uid).unwrap_or_else(|| uid.into());
        let Some(pod) = self.pods.get(&uid) else { return Tenant::Unknown };
        if self.embodied_by(&uid).is_some() {
            return Tenant::Gateway;
        }
        if !pod.host_network {
            return Tenant::Apart;
        }
        let id = ProxyId::Pod(uid);
        let has_proxy = self.fleets.all().any(|fleet| fleet.facts(&id).is_some() || fleet.remembers(&id));
        if has_proxy { Tenant::Proxy } else { Tenant::Other }
    }

    /// The mirror of the static pod with this uid, by its own uid. A pod with that very uid comes before all mirrors, an older
    /// mirror before younger ones, so that nobody takes another pod's processes by naming its uid.
    pub fn mirror_of(&self, uid: &str) -> Option<Name> {
        if self.pods.contains_key(uid) {
            return None;
        }
        let mirrors = self.pods.values().filter(|pod| pod.static_uid.as_deref() == Some(uid));
        mirrors.min_by_key(|pod| (pod.created_ms, &pod.uid)).map(|pod| pod.uid.clone())
    }

    /// For each NodeProxy the pod that is to run it: the youngest, of those that are to stay if there is one.
    pub fn leaders(&self) -> BTreeMap<String, Name> {
        let mut leaders: BTreeMap<String, &Pod> = BTreeMap::new();
        let rank = |pod: &Pod| (pod.terminating_ms == 0, pod.created_ms, pod.uid.clone());
        let Some(account) = &self.gateways else { return BTreeMap::new() };
        for (pod, proxy) in self.pods.values().filter_map(|pod| Some((pod, account.embodied_by(pod)?))) {
            let leader = leaders.entry(proxy.to_owned()).or_insert(pod);
            if rank(pod) > rank(leader) {
                *leader = pod;
            }
        }
        leaders.into_iter().map(|(proxy, pod)| (proxy, pod.uid.clone())).collect()
    }
}
