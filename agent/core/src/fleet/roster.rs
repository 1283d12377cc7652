//! The proxies of a fleet: [`Roster`].

use std::collections::BTreeSet;
use std::sync::Arc;

use portreeve_api::model::Plan;
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use super::Fleet;
use super::facts::Facts;
use super::proxy::Proxy;
use super::surroundings::Surroundings;
use crate::translate::{ProxyKind, ProxyModel};

/// The proxies of a fleet, independent of their kind.
pub trait Roster {
    /// Returns the kind of all proxies in this fleet.
    fn kind(&self) -> ProxyKind;

    /// Returns the ids of all proxies.
    fn ids(&self) -> Vec<ProxyId>;

    /// Returns a proxy's facts; `None` if there is no such proxy.
    fn facts(&self, id: &ProxyId) -> Option<&Facts>;

    /// Adds a proxy, or updates its facts; an existing proxy keeps its view. `sure` tells whether absence
    /// from a new proxy's view means deletion.
    fn put(&mut self, id: ProxyId, facts: Facts, sure: bool);

    /// Removes a proxy and closes its streams with this reason. Returns the proxy's facts.
    fn remove(&mut self, id: &ProxyId, reason: &str) -> Option<Facts>;

    /// Returns the proxies whose view may be incomplete: absence does not mean deletion yet.
    fn unsure(&self) -> Vec<&ProxyId>;

    /// Marks a proxy's view as complete: resources that are absent from it are deleted.
    fn be_sure(&mut self, id: &ProxyId);

    /// Records that the hub has sent everything: no proxy has anything newer from now on.
    fn catch_up(&mut self);

    /// Refreshes these Plans on these proxies. All changes of one proxy are published in one transaction.
    fn refresh(&mut self, dirty: BTreeSet<(ProxyId, Name)>, around: &mut Surroundings<'_>);

    /// Records the facts that the proxy of a pod without a proxy would have; `None` removes them. Returns the
    /// previous facts.
    fn set_bare(&mut self, uid: &Name, facts: Option<Facts>) -> Option<Facts>;

    /// Returns the facts of the proxies in a network namespace, without those beside them. A pod whose proxy has not
    /// reconnected since the agent's start counts if it accepted something before.
    fn in_netns(&self, netns: &Name) -> Vec<Arc<Facts>>;

    /// Returns the pods without a proxy of this kind in a network namespace, by their uid, with the facts that their proxies
    /// would have.
    fn bare_in_netns(&self, netns: &Name) -> Vec<(Name, Facts)>;

    /// Returns the number of pods that should have a proxy for this Plan and never had one.
    fn bare(&self, plan: &Plan) -> usize;

    /// Returns the number of translations so far.
    fn translated(&self) -> u64;
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
            proxy.withhold();
        }
    }

    fn catch_up(&mut self) {
        if !std::mem::replace(&mut self.caught_up, true) {
            self.proxies.values_mut().for_each(|proxy| proxy.may_be_newer(None));
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

    fn in_netns(&self, netns: &Name) -> Vec<Arc<Facts>> {
        let alone = |facts: &Facts| Arc::new(Facts { beside: Vec::new(), ..facts.clone() });
        let proxies = self.proxies.values().map(|proxy| &proxy.facts);
        let away =
            self.bare.iter().filter(|(uid, _)| self.ledgers.contains_key(&ProxyId::Pod((*uid).clone())));
        let all = proxies.chain(away.map(|(_, facts)| facts));
        all.filter(|facts| facts.netns == *netns).map(alone).collect()
    }

    fn bare_in_netns(&self, netns: &Name) -> Vec<(Name, Facts)> {
        let there = self.bare.iter().filter(|(_, facts)| facts.netns == *netns);
        there.map(|(uid, facts)| (uid.clone(), facts.clone())).collect()
    }

    fn bare(&self, plan: &Plan) -> usize {
        self.bare.values().filter(|facts| facts.is_needed_for(plan)).count()
    }

    fn translated(&self) -> u64 {
        self.translated
    }
}
