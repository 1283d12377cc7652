//! Which proxies a fleet has: [`Roster`].

use std::collections::BTreeSet;

use portreeve_api::model::Plan;
use portreeve_api::refs::ProxyId;
use portreeve_xds::{Name, Withheld};

use super::Fleet;
use super::facts::Facts;
use super::proxy::Proxy;
use super::surroundings::Surroundings;
use crate::translate::{ProxyKind, ProxyModel};

/// The proxies of a fleet, whatever their kind.
pub trait Roster {
    /// Their kind.
    fn kind(&self) -> ProxyKind;

    /// Those that there are.
    fn ids(&self) -> Vec<ProxyId>;

    /// What a proxy is; `None` if it isn't there.
    fn facts(&self, id: &ProxyId) -> Option<&Facts>;

    /// Adds a proxy, or changes what it is: it keeps its view. `sure`: what is missing in the view of a new one is known to
    /// be gone.
    fn put(&mut self, id: ProxyId, facts: Facts, sure: bool);

    /// Removes a proxy and ends its streams with this reason. Returns what it was.
    fn remove(&mut self, id: &ProxyId, reason: &str) -> Option<Facts>;

    /// Proxies of which it is not known that what is missing in their view is gone.
    fn unsure(&self) -> Vec<&ProxyId>;

    /// Lets a proxy know that what is missing in its view is gone.
    fn be_sure(&mut self, id: &ProxyId);

    /// Brings these Plans on these proxies up to date, all changes of one proxy in one transaction.
    fn refresh(&mut self, dirty: BTreeSet<(ProxyId, Name)>, around: &mut Surroundings<'_>);

    /// Notes what the proxy of a pod would be that never had one, or with `None` that it isn't to be counted. Returns what
    /// was noted before.
    fn set_bare(&mut self, uid: &Name, facts: Option<Facts>) -> Option<Facts>;

    /// How many pods should have a proxy that takes this Plan, and never had one.
    fn bare(&self, plan: &Plan) -> usize;

    /// Translations so far.
    #[cfg(test)]
    fn translated(&self) -> usize;
}

impl<T: ProxyModel> Roster for Fleet<T> {
    fn kind(&self) -> ProxyKind {
        T::KIND
    }

    fn ids(&self) -> Vec<ProxyId> {
        self.proxies.keys().cloned().collect()
    }

    fn facts(&self, id: &ProxyId) -> Option<&Facts> {
        self.proxies.get(id).map(|proxy| &proxy.facts)
    }

    fn put(&mut self, id: ProxyId, facts: Facts, sure: bool) {
        let proxy = match self.proxies.remove(&id) {
            Some(old) => Proxy { facts, ..old },
            None => Proxy::new(facts, sure),
        };
        self.proxies.insert(id, proxy);
    }

    fn remove(&mut self, id: &ProxyId, reason: &str) -> Option<Facts> {
        let proxy = self.proxies.remove(id)?;
        proxy.view.close(reason);
        Some(proxy.facts)
    }

    fn unsure(&self) -> Vec<&ProxyId> {
        self.proxies.iter().filter(|(_, proxy)| !proxy.sure).map(|(id, _)| id).collect()
    }

    fn be_sure(&mut self, id: &ProxyId) {
        if let Some(proxy) = self.proxies.get_mut(id) {
            proxy.sure = true;
            proxy.view.withhold(Withheld::default());
        }
    }

    fn refresh(&mut self, dirty: BTreeSet<(ProxyId, Name)>, around: &mut Surroundings<'_>) {
        self.bring_up_to_date(dirty, around);
    }

    fn set_bare(&mut self, uid: &Name, facts: Option<Facts>) -> Option<Facts> {
        match facts {
            Some(facts) => self.bare.insert(uid.clone(), facts),
            None => self.bare.remove(uid),
        }
    }

    fn bare(&self, plan: &Plan) -> usize {
        self.bare.values().filter(|facts| facts.takes(plan)).count()
    }

    #[cfg(test)]
    fn translated(&self) -> usize {
        self.translated
    }
}
