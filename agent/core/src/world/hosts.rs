//! Host names in Plans: which Plan uses which name, and the addresses of each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portreeve_api::model::Plan;
use portreeve_xds::Name;

use crate::translate::sources;

/// A namespace and a host name. The name is relative to the Plan's DNS namespace.
pub type Host = (String, String);

/// All host names that Plans use.
#[derive(Default)]
pub struct Hosts {
    wanted: BTreeMap<Host, Wanted>,
    of_plan: BTreeMap<Name, BTreeSet<Host>>,
    /// The hub has sent everything. A name that is first used from now on can't belong to a Plan that a proxy
    /// already runs.
    closed: bool,
}

#[derive(Default)]
struct Wanted {
    plans: BTreeSet<Name>,
    /// `None` until the first answer; empty if the name does not exist.
    addresses: Option<Vec<IpAddr>>,
    /// The name was first used after the hub had sent everything, so no proxy waits for it.
    late: bool,
}

// === impl Hosts ===

impl Hosts {
    /// Updates a Plan's host names; `None` if the Plan is gone. Returns `true` if the set of used names
    /// changed.
    pub fn set_plan(&mut self, name: &Name, plan: Option<&Plan>) -> bool {
        let now = plan.map(hosts_of).unwrap_or_default();
        let before = self.of_plan.remove(name).unwrap_or_default();
        let mut changed = false;
        for host in before.difference(&now) {
            let Some(wanted) = self.wanted.get_mut(host) else { continue };
            wanted.plans.remove(name);
            if wanted.plans.is_empty() {
                self.wanted.remove(host);
                changed = true;
            }
        }
        for host in &now {
            changed |= !self.wanted.contains_key(host);
            let new = || Wanted { late: self.closed, ..Wanted::default() };
            self.wanted.entry(host.clone()).or_insert_with(new).plans.insert(name.clone());
        }
        if !now.is_empty() {
            self.of_plan.insert(name.clone(), now);
        }
        changed
    }

    /// Records the addresses of a name. Returns the Plans that this changes.
    pub fn set_addresses(&mut self, host: &Host, mut addresses: Vec<IpAddr>) -> BTreeSet<Name> {
        addresses.sort();
        addresses.dedup();
        let Some(wanted) = self.wanted.get_mut(host) else { return BTreeSet::new() };
        if wanted.addresses.as_ref() == Some(&addresses) {
            return BTreeSet::new();
        }
        wanted.addresses = Some(addresses);
        wanted.plans.clone()
    }

    /// Returns the addresses of a name; `None` before the first answer.
    pub fn addresses(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>> {
        self.wanted.get(&(namespace.to_string(), name.to_string()))?.addresses.clone()
    }

    /// Records that the hub has sent everything: no proxy waits for names that are first used from now on.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Returns the Plans that wait for the first answer for a name and may already run on a proxy.
    pub fn waiting(&self) -> impl Iterator<Item = &Name> {
        let open = self.wanted.values().filter(|wanted| wanted.addresses.is_none() && !wanted.late);
        open.flat_map(|wanted| &wanted.plans)
    }

    /// Returns every used name.
    pub fn wanted(&self) -> BTreeSet<Host> {
        self.wanted.keys().cloned().collect()
    }
}

fn hosts_of(plan: &Plan) -> BTreeSet<Host> {
    sources::hosts(plan).map(|host| (plan.dns_namespace.clone(), host.to_owned())).collect()
}
