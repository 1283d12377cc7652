//! Gateways in pods: which NodeProxy a pod embodies ([`World::embodied_by`]), and which of its pods is to run it
//! ([`World::leaders`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use portreeve_api::pod::Pod;
use portreeve_xds::Name;

use super::{ProxyId, World};

/// The ServiceAccount under which a pod is believed to embody the NodeProxy that it names: whoever may create pods under it may
/// pose as any NodeProxy. Written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    namespace: String,
    name: String,
}

/// What a pod may have to do with the ports of the host's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// It embodies a NodeProxy.
    Gateway,
    /// It has, or had, a proxy of its own on the host's network.
    Proxy,
    /// It is on the host's network, without a proxy.
    Other,
    /// It has a network of its own.
    Apart,
    /// Not known, or not yet.
    Unknown,
}

/// No ServiceAccount.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not namespace/name of a ServiceAccount")]
pub struct NoAccount(String);

// === impl Account ===

impl Account {
    /// The NodeProxy that a pod embodies.
    fn embodied_by<'a>(&self, pod: &'a Pod) -> Option<&'a str> {
        let own = *pod.namespace == *self.namespace && pod.service_account == self.name;
        pod.node_proxy.as_deref().filter(|_| own)
    }
}

impl FromStr for Account {
    type Err = NoAccount;

    fn from_str(text: &str) -> Result<Self, NoAccount> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(NoAccount(text.to_owned())),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

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
        let has_proxy = self.proxies.contains_key(&id) || self.ledgers.contains_key(&id);
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

#[cfg(test)]
mod tests {
    use super::Account;

    #[test]
    fn account_is_namespace_and_name() {
        let account: Account = "portreeve/gateway".parse().unwrap();
        assert_eq!(account.to_string(), "portreeve/gateway");
        for bad in ["", "gateway", "/gateway", "portreeve/", "a/b/c"] {
            assert!(bad.parse::<Account>().is_err(), "{bad}");
        }
    }
}
