//! Gateway pods: the NodeProxy that a pod runs ([`World::embodied_by`]), and which of several pods runs it
//! ([`World::leaders`]).

use std::collections::{BTreeMap, BTreeSet};

use portreeve_api::pod::Pod;
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use super::World;
use super::account::{Account, Tenant};

// === impl World ===

impl World {
    /// Sets the ServiceAccount whose pods run NodeProxies.
    #[must_use]
    pub fn with_gateways(self, gateways: Option<Account>) -> Self {
        Self { gateways, ..self }
    }

    /// Returns the NodeProxy that this pod of the node runs; `None` for other pods.
    pub fn embodied_by(&self, uid: &str) -> Option<&str> {
        self.gateways.as_ref()?.embodied_by(self.pods.get(uid)?)
    }

    /// Maps a gateway pod to its NodeProxy and a static pod to its mirror pod. Other ids are returned
    /// unchanged.
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

    /// Returns the gateway pods on the host's network that have not finished.
    pub fn gateways_on_host(&self) -> BTreeSet<Name> {
        let Some(account) = &self.gateways else { return BTreeSet::new() };
        let there = self.pods.values().filter(|pod| pod.host_network && !pod.finished);
        there.filter(|pod| account.embodied_by(pod).is_some()).map(|pod| pod.uid.clone()).collect()
    }

    /// Returns how the pod with this uid in its cgroup path relates to the host's ports.
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

    /// Returns the uid of the mirror pod of the static pod `uid`; `None` if a pod has `uid` itself. Of
    /// several mirrors the oldest counts, so that a new pod can't claim another pod's processes by naming its
    /// uid.
    pub fn mirror_of(&self, uid: &str) -> Option<Name> {
        if self.pods.contains_key(uid) {
            return None;
        }
        let mirrors = self.pods.values().filter(|pod| pod.static_uid.as_deref() == Some(uid));
        mirrors.min_by_key(|pod| (pod.created_ms, &pod.uid)).map(|pod| pod.uid.clone())
    }

    /// Returns, for each NodeProxy, the pod that runs it: the youngest pod that is not terminating, or else
    /// the youngest.
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
