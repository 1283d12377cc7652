//! The ServiceAccount of gateway pods ([`Account`]), and how a pod relates to the host's ports ([`Tenant`]).

use std::fmt;
use std::str::FromStr;

use portreeve_api::pod::Pod;

/// The ServiceAccount of gateway pods. A pod under it runs the NodeProxy that the pod names, so whoever may
/// create pods under it can act as any NodeProxy. Written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    namespace: String,
    name: String,
}

/// How a pod relates to the ports of the host's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// The pod runs a NodeProxy.
    Gateway,
    /// The pod is on the host's network and has, or had, a proxy of its own.
    Proxy,
    /// The pod is on the host's network, without a proxy.
    Other,
    /// The pod has its own network namespace.
    Apart,
    /// The pod is not known, or not yet.
    Unknown,
}

/// The text does not name a ServiceAccount.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not namespace/name of a ServiceAccount")]
pub struct NoAccount(String);

// === impl Account ===

impl Account {
    /// Returns the NodeProxy that a gateway pod runs; `None` for other pods.
    pub(super) fn embodied_by<'a>(&self, pod: &'a Pod) -> Option<&'a str> {
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
