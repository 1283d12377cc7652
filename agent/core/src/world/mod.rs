//! The agent's world: the hub's resources, the node's pods and proxies, and the resources that each proxy is
//! sent.
//!
//! The world is synchronous and has neither clock nor Kubernetes client. All input enters through its verbs.
//! A verb publishes what changed to the proxies' views before it returns, with all changes of one proxy in
//! one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use portreeve_api::PlanType;
use portreeve_api::model::{Endpoint, NodeProxy, Plan, Settings};
use portreeve_api::pod::Pod;
use portreeve_xds::{Name, Version};

use crate::claims::{self, Claims};
use crate::fleet::{Fault, Fleet, Fleets};
use crate::health::EndpointHealth;
use crate::translate::l7mp::L7mp;
use crate::translate::{Defaults, Families, ProxyModel};

mod account;
mod answers;
mod decoded;
mod feed;
mod floating;
mod gateways;
mod health;
mod hosts;
mod interfaces;
mod joining;
mod known;
mod members;
mod pods;
mod refresh;
mod restore;
mod strangers;
mod tunnelled;
mod unread;
mod unreadable;

pub use account::{Account, Tenant};
pub use feed::Sent;
pub use hosts::Host;
pub use interfaces::Interface;
pub use portreeve_api::refs::ProxyId;

use feed::Feed;
use floating::Floating;
use hosts::Hosts;
use interfaces::Interfaces;
use tunnelled::Tunnelled;
pub use tunnelled::{TunnelPlans, TunnelState};

/// The port of an l7mp's REST API if its NodeProxy sets none.
const L7MP_PORT: u16 = 1234;

/// The agent's state.
pub struct World {
    node: Name,
    host_families: Families,
    defaults: Defaults,
    feed: Feed,
    pods: HashMap<Name, Pod>,
    /// The `node.id` that each pod's proxy announced last, by the pod's uid.
    announced: BTreeMap<Name, String>,
    fleets: Fleets,
    hosts: Hosts,
    claims: Claims,
    floating: Floating,
    tunnelled: Tunnelled,
    strangers: claims::strangers::Known,
    health: EndpointHealth,
    /// The interfaces that lead to pods.
    interfaces: Interfaces,
    /// Pods whose l7mp proxy had its complete configuration once.
    joined: BTreeSet<Name>,
    /// The ServiceAccount whose pods run NodeProxies.
    gateways: Option<Account>,
    /// The hub's data is stale.
    stale: bool,
    news: Vec<Fault>,
    /// Plans whose status may have changed, see [`World::take_touched`].
    touched: BTreeSet<Name>,
}

/// What the caller must act on after a verb.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// NodeProxies were added, changed or removed: keepers must be started, updated or stopped.
    pub proxies: bool,
    /// The set of host names to resolve changed.
    pub hosts: bool,
    /// Invalid resources of the hub, each with its name and the reason.
    pub refused: Vec<String>,
}

// === impl World ===

impl World {
    /// Returns an empty world with these kinds of proxies, on a host with these address families.
    pub fn new(fleets: Fleets, host_families: Families) -> Self {
        Self {
            node: Name::default(),
            host_families,
            defaults: Defaults::default(),
            feed: Feed::default(),
            pods: HashMap::new(),
            announced: BTreeMap::new(),
            fleets,
            hosts: Hosts::default(),
            claims: Claims::default(),
            floating: Floating::default(),
            tunnelled: Tunnelled::default(),
            strangers: claims::strangers::Known::default(),
            health: EndpointHealth::default(),
            interfaces: Interfaces::default(),
            joined: BTreeSet::new(),
            gateways: None,
            stale: false,
            news: Vec::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Sets the defaults for fields that Plans leave unset.
    #[must_use]
    pub fn with_defaults(self, defaults: Defaults) -> Self {
        Self { defaults, ..self }
    }

    /// Applies one response of the hub.
    ///
    /// # Errors
    /// Returns the name of an undecodable resource and the decoder's error. Nothing of the response was
    /// applied then.
    pub fn apply_feed(&mut self, ty: PlanType, upsert: &[Sent], removed: &[Name]) -> Result<Effects, String> {
        let first = !self.feed.heard(ty);
        let mut touched = self.feed.apply(ty, upsert, removed)?;
        if first {
            touched.plans.extend(self.confirm_ledgers(ty));
        }
        let effects = self.follow(touched);
        self.be_sure();
        self.follow_joining();
        Ok(effects)
    }

    /// Updates the world after a change of the feed.
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

    /// Sets a host name's addresses; empty if the name does not exist.
    pub fn set_host(&mut self, host: &Host, addresses: Vec<IpAddr>) {
        let plans = self.hosts.set_addresses(host, addresses);
        self.follow_endpoints(plans);
        self.be_sure();
    }

    /// Refreshes Plans whose endpoints changed.
    fn follow_endpoints(&mut self, plans: BTreeSet<Name>) {
        plans.iter().for_each(|plan| self.follow_uses(plan));
        self.refresh(plans);
    }

    /// Returns whether every type has a complete list. Before that nothing is served.
    pub fn complete(&self) -> bool {
        self.feed.complete()
    }

    /// Returns the versions of the hub's resources, for a reconnect.
    pub fn held(&self) -> &BTreeMap<(PlanType, Name), Version> {
        &self.feed.versions
    }

    /// Returns and clears the faults since the last call.
    pub fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.news)
    }

    /// Returns and clears the Plans whose status may have changed since the last call.
    pub fn take_touched(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.touched)
    }

    /// Returns the terminating endpoints. An endpoint in several groups is repeated.
    pub fn terminating(&self) -> impl Iterator<Item = &Endpoint> {
        self.feed.terminating()
    }

    /// Returns the NodeProxies that this node shall run.
    pub fn node_proxies(&self) -> &BTreeMap<Name, NodeProxy> {
        &self.feed.proxies
    }

    /// Returns the addresses that float between nodes and that proxies on this node's network listen on. It is the same
    /// pointer until the set changes.
    pub fn floating(&self) -> Arc<BTreeSet<IpAddr>> {
        self.floating.all()
    }

    /// Returns the Plans with tunnels that proxies on this node's network have. It is the same pointer until one of them changes.
    pub fn tunnel_plans(&self) -> Arc<TunnelPlans> {
        self.tunnelled.plans()
    }

    /// Replaces what is known of the tunnels on this node, by their numbers.
    pub fn set_tunnel_states(&mut self, states: BTreeMap<u32, TunnelState>) {
        let changed = self.tunnelled.set_states(states);
        self.touched.extend(changed);
    }

    /// Records that no pings come to this node.
    pub fn silence_tunnels(&mut self) {
        let changed = self.tunnelled.silence();
        self.touched.extend(changed);
    }

    /// Returns the tunnels of a Plan, if a proxy on this node's network has it, by their numbers, with what is known of each.
    pub fn tunnel_states<'a>(
        &'a self,
        plan: &'a Plan,
        name: &str,
    ) -> impl Iterator<Item = (u32, Option<&'a TunnelState>)> {
        self.tunnelled.states_of(plan, name)
    }

    /// Returns the host names to resolve.
    pub fn wanted_hosts(&self) -> BTreeSet<Host> {
        self.hosts.wanted()
    }

    /// Returns the addresses of a host name; `None` before the first answer.
    pub fn addresses_of(&self, host: &Host) -> Option<Vec<IpAddr>> {
        self.hosts.addresses(&host.0, &host.1)
    }

    /// Returns the uids of this node's pods.
    pub fn pods(&self) -> impl Iterator<Item = &Name> {
        self.pods.keys()
    }

    /// Returns a pod of this node.
    pub fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.get(uid)
    }

    /// Returns the `node.id` that each pod's proxy announced last, by the pod's uid. The hub sends the node the
    /// Plans of these names.
    pub fn announced(&self) -> &BTreeMap<Name, String> {
        &self.announced
    }

    /// Returns the proxies of all kinds.
    pub fn fleets(&self) -> &Fleets {
        &self.fleets
    }

    /// Returns the proxies with these resource types; `None` if this agent does not serve them.
    pub fn fleet<T: ProxyModel>(&self) -> Option<&Fleet<T>> {
        self.fleets.typed()
    }

    /// Returns the l7mp proxies with the addresses of their REST APIs. A pod without an address is left out. A NodeProxy's
    /// is on the host's loopback, whether the proxy runs or not.
    pub fn l7mp_proxies(&self) -> BTreeMap<ProxyId, SocketAddr> {
        let proxies = self.fleet::<L7mp>().map(|fleet| fleet.proxies()).into_iter().flatten();
        let address = |id: &ProxyId| match id {
            ProxyId::Pod(uid) => {
                let pod = self.pods.get(uid)?;
                Some(SocketAddr::new(*pod.ips.first()?, pod.l7mp?.get()))
            }
            ProxyId::Node(name) => match &self.feed.proxies.get(name)?.settings {
                Some(Settings::L7mp(settings)) => {
                    let port = settings.api_port.map_or(L7MP_PORT, NonZeroU16::get);
                    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
                }
                None | Some(Settings::Envoy(_)) => None,
            },
        };
        proxies.filter_map(|(id, _)| Some((id.clone(), address(id)?))).collect()
    }

    /// Returns the number of translations so far, of all kinds.
    pub fn translated(&self) -> u64 {
        self.fleets.all().map(|fleet| fleet.translated()).sum()
    }

    /// Returns a Plan, for its status.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.feed.plans.get(name).map(Arc::as_ref)
    }

    /// Returns all Plans, for their statuses.
    pub fn plans(&self) -> impl Iterator<Item = (&Name, &Arc<Plan>)> {
        self.feed.plans.iter()
    }
}
