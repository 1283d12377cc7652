//! Host names in Plans: which are wanted by whom, and what is known of each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portreeve_api::model::Plan;
use portreeve_xds::Name;

use crate::translate::sources;

/// A host name as a Plan means it: relative to the Plan's namespace.
pub type Host = (String, String);

/// All wanted host names.
#[derive(Default)]
pub struct Hosts {
    wanted: BTreeMap<Host, Wanted>,
    of_plan: BTreeMap<Name, BTreeSet<Host>>,
    /// The hub has said everything: no proxy can run already what a Plan with a later name contributes.
    closed: bool,
}

#[derive(Default)]
struct Wanted {
    plans: BTreeSet<Name>,
    /// None until the first answer; empty when the name does not exist.
    addresses: Option<Vec<IpAddr>>,
    /// It was wanted only after the hub had said everything: nobody is held back for it.
    late: bool,
}

// === impl Hosts ===

impl Hosts {
    /// A Plan's names (none when it is gone). True when the set of wanted names changed.
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

    /// An answer for a name; answers with the Plans that it changes.
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

    /// What is known of a name.
    pub fn addresses(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>> {
        self.wanted.get(&(namespace.to_string(), name.to_string()))?.addresses.clone()
    }

    /// The hub has said everything: names that are wanted from now on hold nobody back.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The Plans that wait for the first answer for a name and may have been served before this agent started.
    pub fn waiting(&self) -> impl Iterator<Item = &Name> {
        let open = self.wanted.values().filter(|wanted| wanted.addresses.is_none() && !wanted.late);
        open.flat_map(|wanted| &wanted.plans)
    }

    /// Every wanted name.
    pub fn wanted(&self) -> BTreeSet<Host> {
        self.wanted.keys().cloned().collect()
    }
}

fn hosts_of(plan: &Plan) -> BTreeSet<Host> {
    sources::hosts(plan).map(|host| (plan.dns_namespace.clone(), host.to_owned())).collect()
}
