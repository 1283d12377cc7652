//! Whose pods embody NodeProxies ([`Account`]), and what a pod may have to do with the host's ports ([`Tenant`]).

use std::fmt;
use std::str::FromStr;

use portreeve_api::pod::Pod;

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
