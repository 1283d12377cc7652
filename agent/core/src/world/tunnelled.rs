//! The Plans whose tunnels this node's gateways use, and what is known of the tunnels: [`Tunnelled`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portreeve_api::model::{Plan, TunnelPeer};
use portreeve_api::refs::ProxyId;
use portreeve_xds::Name;

use crate::claims::Owner;
use crate::translate::ProxyKind;

/// What is known of a tunnel on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelState {
    /// The other end.
    pub peer: TunnelPeer,
    /// Whether its pings come to this node.
    pub heard: bool,
}

/// Plans with tunnels that proxies on the node's network have, by name.
pub type TunnelPlans = BTreeMap<Name, Arc<Plan>>;

/// The Plans with tunnels, and the states of the tunnels.
#[derive(Default)]
pub struct Tunnelled {
    owners: BTreeMap<Name, BTreeSet<Owner>>,
    /// The Plans in `owners`. Readers keep the map and compare by pointer.
    plans: Arc<TunnelPlans>,
    /// By the tunnels' numbers.
    states: BTreeMap<u32, TunnelState>,
}

// === impl Tunnelled ===

impl Tunnelled {
    /// Records the Plan that an owner has; `None` if it has it no more, or not on the node's network.
    pub fn set(&mut self, owner: &Owner, plan: Option<&Arc<Plan>>) {
        let Some(plan) = plan.filter(|plan| plan.tunnels.is_some()) else { return self.remove(owner) };
        self.owners.entry(owner.plan.clone()).or_default().insert(owner.clone());
        let same = |known: &Arc<Plan>| known.tunnels == plan.tunnels && known.listeners == plan.listeners;
        if !self.plans.get(&owner.plan).is_some_and(same) {
            Arc::make_mut(&mut self.plans).insert(owner.plan.clone(), plan.clone());
        }
    }

    fn remove(&mut self, owner: &Owner) {
        let Some(owners) = self.owners.get_mut(&owner.plan) else { return };
        owners.remove(owner);
        if owners.is_empty() {
            self.owners.remove(&owner.plan);
            Arc::make_mut(&mut self.plans).remove(&owner.plan);
        }
    }

    /// Removes the Plans of a proxy.
    pub fn drop_proxy(&mut self, kind: ProxyKind, proxy: &ProxyId) {
        let all = self.owners.values().flatten();
        let its: Vec<Owner> =
            all.filter(|owner| owner.kind == kind && owner.proxy == *proxy).cloned().collect();
        its.iter().for_each(|owner| self.remove(owner));
    }

    /// Returns all Plans. It is the same pointer until one of them changes.
    pub fn plans(&self) -> Arc<TunnelPlans> {
        self.plans.clone()
    }

    /// Replaces what is known of the tunnels. Returns the Plans with a tunnel of which something else is known now.
    pub fn set_states(&mut self, states: BTreeMap<u32, TunnelState>) -> Vec<Name> {
        let before = std::mem::replace(&mut self.states, states);
        let differs = |id: &u32| before.get(id) != self.states.get(id);
        let changed: BTreeSet<u32> =
            before.keys().chain(self.states.keys()).copied().filter(differs).collect();
        let is_of = |plan: &Plan| {
            let tunnels = plan.tunnels.iter().flat_map(|all| &all.tunnels);
            tunnels.map(|tunnel| tunnel.id.get()).any(|id| changed.contains(&id))
        };
        if changed.is_empty() {
            return Vec::new();
        }
        self.plans.iter().filter(|(_, plan)| is_of(plan)).map(|(name, _)| name.clone()).collect()
    }

    /// Records that no pings come to this node. Returns the Plans of which something else is known now.
    pub fn silence(&mut self) -> Vec<Name> {
        let silent = |state: &TunnelState| TunnelState { heard: false, ..*state };
        let states = self.states.iter().map(|(id, state)| (*id, silent(state))).collect();
        self.set_states(states)
    }

    /// Returns the tunnels of a Plan, if a proxy on the node's network has it, by their numbers, with what is known of each.
    pub fn states_of<'a>(
        &'a self,
        plan: &'a Plan,
        name: &str,
    ) -> impl Iterator<Item = (u32, Option<&'a TunnelState>)> {
        let tunnels = plan.tunnels.iter().filter(|_| self.owners.contains_key(name));
        let ids = tunnels.flat_map(|all| &all.tunnels).map(|tunnel| tunnel.id.get());
        ids.map(|id| (id, self.states.get(&id)))
    }
}
