//! The agent's world: the hub's resources, the node's own pods and proxies, and from them what each proxy is sent.
//!
//! Synchronous, without a clock and without Kubernetes. Everything enters by a verb; what differs is published to
//! the proxies' views before the verb returns, all that one verb changes on a proxy in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::model::{Endpoint, NodeProxy, Plan};
use portreeve_api::pod::Pod;
use portreeve_xds::{Name, Version};

use crate::claims::{self, Claims};
use crate::fleet::{Fault, Fleet, Fleets, registry};
use crate::health::Book;
use crate::translate::{Defaults, Families, ProxyModel};

mod account;
mod answers;
mod decoded;
mod feed;
mod gateways;
mod health;
mod hosts;
mod known;
mod members;
mod pods;
mod refresh;
mod restore;
mod strangers;
#[cfg(test)]
mod tests;
mod unreadable;

pub use account::{Account, Tenant};
pub use feed::Sent;
pub use hosts::Host;
pub use portreeve_api::refs::ProxyId;

use feed::Feed;
use hosts::Hosts;

/// Everything that the agent knows.
pub struct World {
    node: Name,
    host_families: Families,
    defaults: Defaults,
    feed: Feed,
    pods: HashMap<Name, Pod>,
    fleets: Fleets,
    hosts: Hosts,
    claims: Claims,
    strangers: claims::strangers::Known,
    health: Book,
    /// Whose pods embody NodeProxies.
    gateways: Option<Account>,
    /// The hub's last word is older than it may be.
    stale: bool,
    news: Vec<Fault>,
    /// Plans that may stand differently: see [`World::take_touched`].
    touched: BTreeSet<Name>,
}

/// What the shell has to act on after a verb.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// NodeProxies came, changed or went: keepers have to follow.
    pub proxies: bool,
    /// Other host names are wanted than before.
    pub hosts: bool,
    /// What the hub sent and makes no sense, each with its name and the reason.
    pub refused: Vec<String>,
}

// === impl World ===

impl World {
    /// An empty world on a host with these address families.
    pub fn new(host_families: Families) -> Self {
        Self::of_fleets(registry::fleets(), host_families)
    }

    /// The same with other kinds of proxies.
    fn of_fleets(fleets: Fleets, host_families: Families) -> Self {
        Self {
            node: Name::default(),
            host_families,
            defaults: Defaults::default(),
            feed: Feed::default(),
            pods: HashMap::new(),
            fleets,
            hosts: Hosts::default(),
            claims: Claims::default(),
            strangers: claims::strangers::Known::default(),
            health: Book::default(),
            gateways: None,
            stale: false,
            news: Vec::new(),
            touched: BTreeSet::new(),
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
        let refused = std::mem::take(&mut touched.refused);
        let mut effects = Effects { proxies: !touched.proxies.is_empty(), hosts: false, refused };
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

    /// Whether the hub has sent a first response of every type: before that nothing is served.
    pub fn complete(&self) -> bool {
        self.feed.complete()
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
    pub fn terminating(&self) -> impl Iterator<Item = &Endpoint> {
        self.feed.terminating()
    }

    /// The NodeProxies that this node is to run.
    pub fn node_proxies(&self) -> &BTreeMap<Name, NodeProxy> {
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

    /// The proxies of all kinds.
    pub fn fleets(&self) -> &Fleets {
        &self.fleets
    }

    /// The proxies with these resource types; `None` if this agent serves no such proxies.
    pub fn fleet<T: ProxyModel>(&self) -> Option<&Fleet<T>> {
        self.fleets.typed()
    }

    /// A Plan, for status.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.feed.plans.get(name).map(Arc::as_ref)
    }

    /// All Plans, for status.
    pub fn plans(&self) -> impl Iterator<Item = (&Name, &Arc<Plan>)> {
        self.feed.plans.iter()
    }
}
