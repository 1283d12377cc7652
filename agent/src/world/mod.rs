//! The agent's world: the hub's resources, the node's own pods and proxies, and from them what each proxy is sent.
//!
//! Synchronous, without a clock and without Kubernetes. Everything enters by a verb; what differs is published to
//! the proxies' views before the verb returns, all that one verb changes on a proxy in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use portreeve_api::pod::Pod;
use portreeve_api::{PlanType, plan};
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Name, Snapshot, Version, View, Withheld};

use crate::health::Book;
use crate::translate::{Defaults, Families, ProxyKind};

mod backing;
pub mod claims;
mod feed;
mod former;
pub mod gateways;
mod health;
mod hosts;
mod inputs;
mod ledger;
mod proxy;
mod refresh;
mod restore;
mod strangers;
#[cfg(test)]
mod tests;

pub use claims::Owner;
pub use feed::Sent;
pub use gateways::{Account, Tenant};
pub use hosts::Host;
pub use ledger::Accepted;
pub use portreeve_api::refs::ProxyId;
pub use proxy::{Allowed, Contribution, Facts, Proxy};
pub use strangers::{Stranger, Strangers, Taken};

use claims::Claims;
use feed::Feed;
use hosts::Hosts;
use ledger::Ledger;

/// Everything that the agent knows.
pub struct World {
    node: Name,
    host_families: Families,
    defaults: Defaults,
    feed: Feed,
    pods: HashMap<Name, Pod>,
    proxies: BTreeMap<ProxyId, Proxy>,
    hosts: Hosts,
    claims: Claims,
    strangers: strangers::Known,
    health: Book,
    /// Whose pods embody NodeProxies.
    gateways: Option<Account>,
    /// The hub's last word is older than it may be.
    stale: bool,
    /// What each proxy accepted, also of proxies that have not connected yet.
    ledgers: BTreeMap<ProxyId, Ledger>,
    /// Whose entry in its ledger is another than the one that was taken last.
    unsaved: BTreeSet<Owner>,
    news: Vec<Fault>,
    /// Pods that never had a proxy of ours, as their proxy would be.
    bare: HashMap<Name, Facts>,
    /// Plans that may stand differently: see [`World::take_touched`].
    touched: BTreeSet<Name>,
    /// Translations so far.
    #[cfg(test)]
    translated: usize,
}

/// A listener that a proxy can't have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The proxy, as people know it.
    pub proxy: String,
    /// The listener's qualified name.
    pub listener: Name,
    /// What, why, and what to do.
    pub text: String,
}

/// What the shell has to act on after a verb.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// NodeProxies came, changed or went: keepers have to follow.
    pub proxies: bool,
    /// Other host names are wanted than before.
    pub hosts: bool,
}

// === impl World ===

impl World {
    /// An empty world on a host with these address families.
    pub fn new(host_families: Families) -> Self {
        Self {
            node: Name::default(),
            host_families,
            defaults: Defaults::default(),
            feed: Feed::default(),
            pods: HashMap::new(),
            proxies: BTreeMap::new(),
            hosts: Hosts::default(),
            claims: Claims::default(),
            strangers: strangers::Known::default(),
            health: Book::default(),
            gateways: None,
            stale: false,
            ledgers: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            news: Vec::new(),
            bare: HashMap::new(),
            touched: BTreeSet::new(),
            #[cfg(test)]
            translated: 0,
        }
    }

    /// The same world with other defaults in its translations.
    #[must_use]
    pub fn with_defaults(self, defaults: Defaults) -> Self {
        Self { defaults, ..self }
    }

    /// One response of the hub.
    ///
    /// # Errors
    /// The resource that can't be decoded; nothing of the response was taken.
    pub fn apply_feed(&mut self, ty: PlanType, upsert: &[Sent], removed: &[Name]) -> Result<Effects, String> {
        let first = !self.feed.heard(ty);
        let mut touched = self.feed.apply(ty, upsert, removed)?;
        if first {
            touched.plans.extend(self.confirm_ledgers(ty));
        }
        let effects = self.follow(touched);
        self.be_sure();
        Ok(effects)
    }

    /// Follows a change of the feed.
    fn follow(&mut self, mut touched: feed::Touched) -> Effects {
        let mut effects = Effects { proxies: !touched.proxies.is_empty(), hosts: false };
        for plan in &touched.plans {
            effects.hosts |= self.hosts.set_plan(plan, self.feed.plans.get(plan).map(Arc::as_ref));
            self.follow_uses(plan);
        }
        touched.plans.extend(self.follow_health(touched.health, touched.probes));
        self.touched.extend(touched.plans.iter().cloned());
        for name in touched.proxies {
            self.follow_node_proxy(name);
        }
        self.refresh(touched.plans);
        effects
    }

    /// A pod of this node was created or changed.
    pub fn apply_pod(&mut self, pod: Pod) {
        if pod.finished {
            return self.delete_pod(&pod.uid);
        }
        let uid = pod.uid.clone();
        let id = ProxyId::Pod(uid.clone());
        let facts = Facts::of_pod(ProxyKind::Envoy, &pod, self.host_families);
        self.pods.insert(uid.clone(), pod);
        self.follow_address(&uid);
        let plans = self.feed.unearth(&uid);
        self.follow_endpoints(plans);
        match self.proxies.contains_key(&id) {
            true => self.put_proxy(id, facts),
            // What embodies a NodeProxy has that one's configuration.
            false if self.embodied_by(&uid).is_some() => {}
            false => self.set_bare(uid, Some(facts)),
        }
    }

    /// A pod of this node is gone.
    pub fn delete_pod(&mut self, uid: &Name) {
        self.pods.remove(uid);
        self.follow_address(uid);
        let plans = self.feed.bury(uid);
        self.follow_endpoints(plans);
        self.set_bare(uid.clone(), None);
        self.drop_proxy(&ProxyId::Pod(uid.clone()), "the pod is gone");
    }

    /// The complete list of this node's pods.
    pub fn reset_pods(&mut self, pods: Vec<Pod>) {
        let listed: BTreeSet<Name> = pods.iter().map(|p| p.uid.clone()).collect();
        let mut known: BTreeSet<Name> = self.pods.keys().cloned().collect();
        // What an earlier agent kept is older than any list; what the hub says now may be newer than this one.
        if !self.feed.heard(PlanType::Slice) {
            known.extend(self.feed.pods_of(&self.node).map(Name::from));
        }
        let gone: Vec<Name> = known.difference(&listed).cloned().collect();
        gone.iter().for_each(|uid| self.delete_pod(uid));
        self.keep_ledgers(|id| !matches!(id, ProxyId::Pod(uid) if !listed.contains(uid)));
        pods.into_iter().for_each(|pod| self.apply_pod(pod));
    }

    /// A host name's addresses; empty when it does not exist.
    pub fn set_host(&mut self, host: &Host, addresses: Vec<IpAddr>) {
        let plans = self.hosts.set_addresses(host, addresses);
        self.follow_endpoints(plans);
        self.be_sure();
    }

    /// These Plans have other endpoints.
    fn follow_endpoints(&mut self, plans: BTreeSet<Name>) {
        plans.iter().for_each(|plan| self.follow_uses(plan));
        self.refresh(plans);
    }

    /// What a proxy that connects is sent; none when it is not one of this node's.
    pub fn open(&mut self, id: &ProxyId) -> Option<Arc<View<EnvoyType>>> {
        if let (ProxyId::Pod(uid), false) = (id, self.proxies.contains_key(id)) {
            let facts = Facts::of_pod(ProxyKind::Envoy, self.pods.get(uid)?, self.host_families);
            self.set_bare(uid.clone(), None);
            self.put_proxy(id.clone(), facts);
        }
        self.proxies.get(id).map(|p| p.view.clone())
    }

    /// Whether the hub has sent a first response of every type: before that nothing is served.
    pub fn complete(&self) -> bool {
        self.feed.complete()
    }

    /// Whether a proxy that connects now would be told all that it is to have. After a restart of the agent a host
    /// name without its first answer holds back a Plan that the proxy may run already.
    pub fn settled(&self, id: &ProxyId) -> bool {
        let Some(known) = self.proxies.get(id).map(|proxy| &proxy.facts) else {
            let ProxyId::Pod(uid) = id else { return self.complete() };
            let pod = self.pods.get(uid).map(|pod| Facts::of_pod(ProxyKind::Envoy, pod, self.host_families));
            return self.complete() && pod.is_none_or(|facts| !self.waits(&facts));
        };
        self.complete() && !self.waits(known)
    }

    /// Whether a Plan of this proxy waits for the first answer for a host name.
    fn waits(&self, facts: &Facts) -> bool {
        self.hosts.waiting().filter_map(|plan| self.feed.plans.get(plan)).any(|plan| facts.takes(plan))
    }

    /// The hub's resources that are held, for a reconnect.
    pub fn held(&self) -> &BTreeMap<(PlanType, Name), Version> {
        &self.feed.versions
    }

    /// Takes the faults that came since the last call.
    pub fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.news)
    }

    /// Takes the Plans of which a proxy's part, or who is to have it, may differ since the last call.
    pub fn take_touched(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.touched)
    }

    /// The endpoints that are to go, once for each of their groups.
    pub fn terminating(&self) -> impl Iterator<Item = &plan::Endpoint> {
        self.feed.terminating()
    }

    /// The pods that never had a proxy of ours, as their proxy would be.
    pub fn bare_pods(&self) -> impl Iterator<Item = &Facts> {
        self.bare.values()
    }

    /// The NodeProxies that this node is to run.
    pub fn node_proxies(&self) -> &BTreeMap<Name, plan::NodeProxy> {
        &self.feed.proxies
    }

    /// The host names that are to be resolved.
    pub fn wanted_hosts(&self) -> BTreeSet<Host> {
        self.hosts.wanted()
    }

    /// What is known of a host name; none: nothing yet.
    pub fn addresses_of(&self, host: &Host) -> Option<Vec<IpAddr>> {
        self.hosts.addresses(&host.0, &host.1)
    }

    /// The uids of this node's pods.
    pub fn pods(&self) -> impl Iterator<Item = &Name> {
        self.pods.keys()
    }

    /// The proxies, for status.
    pub fn proxies(&self) -> &BTreeMap<ProxyId, Proxy> {
        &self.proxies
    }

    /// A Plan, for status.
    pub fn plan(&self, name: &str) -> Option<&plan::Plan> {
        self.feed.plans.get(name).map(Arc::as_ref)
    }

    /// All Plans, for status.
    pub fn plans(&self) -> impl Iterator<Item = (&Name, &Arc<plan::Plan>)> {
        self.feed.plans.iter()
    }

    /// Keeps the book of pods without a proxy, and touches the Plans that would be for them.
    fn set_bare(&mut self, uid: Name, facts: Option<Facts>) {
        let before = match facts.clone() {
            Some(facts) => self.bare.insert(uid, facts),
            None => self.bare.remove(&uid),
        };
        if before == facts {
            return;
        }
        let concerned = before.iter().chain(&facts).flat_map(|one| self.taken_by(one)).collect::<Vec<_>>();
        self.touched.extend(concerned);
    }

    /// The Plans whose status tells of a proxy: those that it is to have, and those whose workload is not known here.
    pub fn taken_by<'a>(&'a self, facts: &'a Facts) -> impl Iterator<Item = Name> + 'a {
        self.feed.plans.iter().filter(|(_, plan)| facts.may_take(plan)).map(|(name, _)| name.clone())
    }

    fn follow_node_proxy(&mut self, name: Name) {
        let id = ProxyId::Node(name.clone());
        match self.feed.proxies.get(&name) {
            Some(proxy) => {
                let facts = Facts::of_node_proxy(&name, proxy, self.host_families);
                self.put_proxy(id, facts);
            }
            None => self.drop_proxy(&id, "the NodeProxy is gone"),
        }
    }

    fn put_proxy(&mut self, id: ProxyId, facts: Facts) {
        if self.proxies.get(&id).is_some_and(|p| p.facts == facts) {
            return;
        }
        let (view, plans, sure) = match self.proxies.remove(&id) {
            Some(old) => (old.view, old.plans, old.sure),
            None => {
                let sure = self.is_sure(&facts);
                (new_view(sure), BTreeMap::new(), sure)
            }
        };
        let concerned = self.taken_by(&facts).collect::<Vec<_>>();
        self.touched.extend(concerned);
        self.proxies.insert(id.clone(), Proxy { facts, view, plans, sure });
        let accepted = self.ledgers.get(&id).into_iter().flat_map(Ledger::plans);
        let plans = self.feed.plans.keys().chain(accepted);
        self.bring_up_to_date(plans.map(|plan| (id.clone(), plan.clone())).collect());
    }

    /// Whether what is missing in a proxy's view is gone: the hub itself has said everything (the last known good may be older
    /// than the proxy's), and all of it can be served to this proxy.
    fn is_sure(&self, facts: &Facts) -> bool {
        self.feed.heard_all() && !self.waits(facts)
    }

    /// Lets those proxies know what is gone for which that has become certain.
    fn be_sure(&mut self) {
        if !self.feed.heard_all() {
            return;
        }
        self.hosts.close();
        let unsure = self.proxies.iter().filter(|(_, proxy)| !proxy.sure && self.is_sure(&proxy.facts));
        let sure: Vec<ProxyId> = unsure.map(|(id, _)| id.clone()).collect();
        for id in sure {
            let Some(proxy) = self.proxies.get_mut(&id) else { continue };
            proxy.sure = true;
            proxy.view.withhold(Withheld::default());
        }
    }

    fn drop_proxy(&mut self, id: &ProxyId, reason: &str) {
        self.keep_ledgers(|kept| kept != id);
        let Some(proxy) = self.proxies.remove(id) else { return };
        let concerned = self.taken_by(&proxy.facts).collect::<Vec<_>>();
        self.touched.extend(concerned);
        proxy.view.close(reason);
        let shifted = self.claims.drop_proxy(id);
        self.bring_up_to_date(shifted);
    }
}

/// What a new proxy sees. While it is not sure, nothing that it runs already is taken away.
fn new_view(sure: bool) -> Arc<View<EnvoyType>> {
    let mut snapshot = Snapshot::default();
    if !sure {
        snapshot.withhold(Withheld::all());
    }
    View::new(snapshot)
}
