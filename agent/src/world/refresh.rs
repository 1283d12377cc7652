//! How proxies follow the world: which are touched by a Plan, what each is to have of it, and whose ports that frees or
//! takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portreeve_api::refs::ResourceName;
use portreeve_api::{PlanType, plan};
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Changes, Name};

use super::feed::Feed;
use super::hosts::Hosts;
use super::strangers::held_back;
use super::{Contribution, Facts, Fault, Owner, ProxyId, World};
use crate::health::Book;
use crate::translate::{self, Families, Lookup};

/// The look-ups that translation needs.
pub(super) struct Known<'a> {
    pub(super) feed: &'a Feed,
    pub(super) hosts: &'a Hosts,
    pub(super) health: &'a Book,
    pub(super) host: Families,
    /// The pods of all nodes but this one are as the hub knew them too long ago.
    stale_but: Option<&'a str>,
}

// === impl World ===

impl World {
    pub(super) fn known(&self) -> Known<'_> {
        let stale_but = self.stale.then_some(&*self.node);
        let Self { feed, hosts, health, host_families: host, .. } = self;
        Known { feed, hosts, health, host: *host, stale_but }
    }

    /// Brings every proxy up to date with these Plans.
    pub(super) fn refresh(&mut self, plans: BTreeSet<Name>) {
        let of_all =
            |plan: &Name| self.proxies.keys().map(|id| (id.clone(), plan.clone())).collect::<Vec<_>>();
        self.bring_up_to_date(plans.iter().flat_map(of_all).collect());
    }

    /// Brings these up to date, and those whose ports they free or take.
    pub(super) fn bring_up_to_date(&mut self, mut dirty: BTreeSet<Owner>) {
        // First all claims, so that no translation sees a port as taken that this very change frees.
        for owner in dirty.clone() {
            dirty.extend(self.claim(&owner));
        }
        let mut changes: BTreeMap<ProxyId, Changes<EnvoyType>> = BTreeMap::new();
        for (id, plan) in dirty {
            let part = changes.entry(id.clone()).or_default();
            self.refresh_one(&id, &plan, part);
        }
        for (id, changes) in changes {
            if let Some(proxy) = self.proxies.get(&id) {
                proxy.view.apply(changes);
            }
        }
    }

    fn claim(&mut self, owner: &Owner) -> BTreeSet<Owner> {
        let (id, name) = owner;
        let wanted = match (self.proxies.get(id), self.feed.plans.get(name)) {
            (Some(proxy), Some(plan)) if proxy.facts.takes(plan) => {
                Some((plan.origin.as_ref().map_or(0, |o| o.created_ms), proxy.facts.wishes(plan)))
            }
            _ => None,
        };
        let (created_ms, wishes) = wanted.unwrap_or_default();
        self.claims.set(owner, created_ms, wishes)
    }

    fn refresh_one(&mut self, id: &ProxyId, name: &Name, changes: &mut Changes<EnvoyType>) {
        #[cfg(test)]
        {
            self.translated += 1;
        }
        let Some(proxy) = self.proxies.get_mut(id) else { return };
        let before = proxy.plans.remove(name).unwrap_or_default();
        let facts = proxy.facts.clone();
        let owner = (id.clone(), name.clone());
        let now = match self.feed.plans.get(name).cloned() {
            Some(plan) if facts.takes(&plan) => self.contribution(&owner, &facts, &plan, &before),
            None if !self.feed.heard(PlanType::Plan) => self.last_accepted(&owner),
            _ => {
                self.forget_accepted(&owner);
                Contribution::default()
            }
        };
        changes.remove.extend(before.missing_in(&now));
        changes.upsert.extend(now.new_since(&before));
        for (listener, text) in now.faults().difference(&before.faults()) {
            let (proxy, listener) = (facts.title.clone(), ResourceName::of(name, listener));
            self.news.push(Fault { proxy, listener, text: text.clone() });
        }
        if !before.is_empty() || !now.is_empty() {
            self.touched.insert(name.clone());
        }
        if let (false, Some(proxy)) = (now.is_empty(), self.proxies.get_mut(id)) {
            proxy.plans.insert(name.clone(), now);
        }
    }

    /// A Plan's part of a proxy that takes it.
    fn contribution(
        &mut self,
        owner: &Owner,
        facts: &Facts,
        plan: &plan::Plan,
        before: &Contribution,
    ) -> Contribution {
        let denied = self.claims.denied(owner);
        let mut taken = self.taken(&owner.0, plan);
        taken.retain(|listener, _| !denied.contains_key(listener));
        for (listener, one) in taken.iter_mut().filter(|(_, one)| one.by.unsure) {
            let key = (EnvoyType::Listener, translate::qualified(plan, listener));
            one.by.beside |= before.resources.contains_key(&key) || self.has_accepted(owner, &key);
        }
        let names = denied.keys().chain(held_back(&taken)).cloned().collect();
        let (called, running) = (self.former_names(owner, plan), self.running(owner, plan));
        let (families, defaults) = (facts.families, self.defaults);
        let request = translate::Request {
            plan,
            families,
            denied: &names,
            running: &running,
            defaults,
            called: &called,
        };
        match translate::envoy::translate(&request, &self.known()) {
            Some(done) => {
                let made_of = self.feed.versions.get(&(PlanType::Plan, owner.1.clone())).copied();
                let made = Contribution { denied, taken, made_of, ..Contribution::of(done) };
                self.amended(owner, &request, made)
            }
            // What is not known completely leaves the previous version in force, but for its lost ports.
            None => {
                let mut last = before.clone();
                if last.resources.is_empty() {
                    last = self.last_accepted(owner);
                }
                last.deny(plan, denied, taken);
                last
            }
        }
    }
}

// === impl Known ===

impl Lookup for Known<'_> {
    fn group(&self, name: &str) -> Option<Vec<&plan::Endpoint>> {
        self.feed.group(name)
    }

    fn host(&self, namespace: &str, name: &str) -> Option<Vec<IpAddr>> {
        self.hosts.addresses(namespace, name)
    }

    fn pod_failed(&self, endpoint: &plan::Endpoint, port: u32, path: &str) -> bool {
        self.failed_pod(endpoint, port, path)
    }

    fn address_failed(&self, ip: IpAddr, port: u32, path: &str) -> bool {
        self.failed_address(ip, port, path)
    }

    fn stale(&self, endpoint: &plan::Endpoint) -> bool {
        self.stale_but.is_some_and(|own| endpoint.node != own)
    }
}
