//! The addresses that one node has at a time, and that this node could serve: [`Floating`].

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portreeve_api::model::{Plan, Scope};
use portreeve_api::refs::ProxyId;

use crate::claims::Owner;
use crate::translate::ProxyKind;

/// The floating addresses that proxies on the node's network listen on.
#[derive(Default)]
pub struct Floating {
    of_owner: BTreeMap<Owner, BTreeSet<IpAddr>>,
    /// Number of owners of each address.
    owners: BTreeMap<IpAddr, usize>,
    /// The addresses in `owners`. Readers keep the set and compare by pointer.
    all: Arc<BTreeSet<IpAddr>>,
}

// === impl Floating ===

impl Floating {
    /// Replaces an owner's addresses.
    pub fn set(&mut self, owner: &Owner, addresses: BTreeSet<IpAddr>) {
        let before = if addresses.is_empty() {
            self.of_owner.remove(owner).unwrap_or_default()
        } else {
            self.of_owner.insert(owner.clone(), addresses.clone()).unwrap_or_default()
        };
        for added in addresses.difference(&before) {
            let owners = self.owners.entry(*added).or_default();
            *owners += 1;
            if *owners == 1 {
                Arc::make_mut(&mut self.all).insert(*added);
            }
        }
        for removed in before.difference(&addresses) {
            let Entry::Occupied(mut owners) = self.owners.entry(*removed) else { continue };
            *owners.get_mut() -= 1;
            if *owners.get() == 0 {
                owners.remove();
                Arc::make_mut(&mut self.all).remove(removed);
            }
        }
    }

    /// Returns all addresses. It is the same pointer until the set changes.
    pub fn all(&self) -> Arc<BTreeSet<IpAddr>> {
        self.all.clone()
    }

    /// Removes the addresses of a proxy.
    pub fn drop_proxy(&mut self, kind: ProxyKind, proxy: &ProxyId) {
        let from = Owner { kind, proxy: proxy.clone(), plan: "".into() };
        let its = self.of_owner.range(from..).map(|(owner, _)| owner);
        let its: Vec<_> =
            its.take_while(|owner| owner.kind == kind && owner.proxy == *proxy).cloned().collect();
        its.iter().for_each(|owner| self.set(owner, BTreeSet::new()));
    }
}

/// Returns the floating addresses of a Plan's listeners.
pub(super) fn floating(plan: &Plan) -> BTreeSet<IpAddr> {
    let sockets = plan.listeners.iter().filter_map(|listener| listener.socket.as_ref());
    sockets.filter(|socket| socket.scope == Scope::Floating).filter_map(|socket| socket.bind?.ip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(proxy: &str, plan: &str) -> Owner {
        Owner { kind: ProxyKind::Envoy, proxy: ProxyId::Node(proxy.into()), plan: plan.into() }
    }

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn address_is_wanted_until_its_last_owner_is_gone() {
        let mut floating = Floating::default();
        floating.set(&owner("a", "p"), set(&["192.0.2.1", "192.0.2.2"]));
        floating.set(&owner("b", "p"), set(&["192.0.2.1"]));
        floating.set(&owner("a", "p"), set(&["192.0.2.3"]));
        assert_eq!(*floating.all, set(&["192.0.2.1", "192.0.2.3"]));
        floating.drop_proxy(ProxyKind::Envoy, &ProxyId::Node("b".into()));
        assert_eq!(*floating.all, set(&["192.0.2.3"]));
        floating.drop_proxy(ProxyKind::Envoy, &ProxyId::Node("a".into()));
        assert_eq!((floating.all.len(), floating.owners.len(), floating.of_owner.len()), (0, 0, 0));
    }

    #[test]
    fn set_of_addresses_is_replaced_only_when_it_changes() {
        let mut floating = Floating::default();
        floating.set(&owner("a", "p"), set(&["192.0.2.1"]));
        let before = floating.all.clone();
        floating.set(&owner("a", "p"), set(&["192.0.2.1"]));
        floating.set(&owner("b", "q"), set(&["192.0.2.1"]));
        floating.set(&owner("a", "r"), set(&[]));
        floating.set(&owner("a", "p"), set(&[]));
        assert!(Arc::ptr_eq(&before, &floating.all));
        floating.set(&owner("b", "q"), set(&["2001:db8::1"]));
        assert_eq!((&*before, &*floating.all), (&set(&["192.0.2.1"]), &set(&["2001:db8::1"])));
    }
}
