//! The decoded resources of the hub: Plans, their groups, and the NodeProxies of this node.
//!
//! A response with an undecodable resource is rejected as a whole. An invalid Plan or NodeProxy is rejected
//! alone: its last valid version stays in force, and the reason is kept for its status.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use portreeve_api::model::{Cluster, Elsewhere, Endpoint, NodeProxy, Plan, Secret};
use portreeve_api::{PlanType, names, plan};
use portreeve_xds::{Name, Version};

use super::decoded::Decoded;
use crate::translate::sources;

/// The hub's resources that this node holds.
#[derive(Default)]
pub struct Feed {
    /// Plans by name.
    pub plans: BTreeMap<Name, Arc<Plan>>,
    /// NodeProxies by name.
    pub proxies: BTreeMap<Name, NodeProxy>,
    shards: HashMap<Name, usize>,
    slices: HashMap<Name, Vec<Endpoint>>,
    /// Uids of this node's deleted pods that a slice still contains.
    deleted_pods: HashSet<String>,
    /// Key material by name. It is only kept in memory.
    pub secrets: HashMap<Name, Secret>,
    /// Plans by the group that they name.
    users: HashMap<Name, BTreeSet<Name>>,
    /// Plans by the secret that they name.
    holders: HashMap<Name, BTreeSet<Name>>,
    /// Plans by the cluster of another Plan that their rules lead to, by its name in the proxy.
    pub routers: HashMap<Name, BTreeSet<Name>>,
    /// Resources whose newest version is invalid, with the reasons.
    pub refused: BTreeMap<(PlanType, Name), String>,
    /// The versions of `plans`, which are older than in `versions` for invalid Plans.
    pub in_force: BTreeMap<Name, Version>,
    /// The versions that the hub sent last, for a reconnect.
    pub versions: BTreeMap<(PlanType, Name), Version>,
    /// Types with a complete list, from the hub or from the store.
    seen: BTreeSet<PlanType>,
    /// Types with a first response from the hub.
    heard: BTreeSet<PlanType>,
}

/// A resource as the hub sent it.
pub type Sent = (Name, Version, Bytes);

/// The changes of a response.
#[derive(Debug, Default, PartialEq)]
pub struct Touched {
    /// Plans to translate again, or to withdraw if they are gone.
    pub plans: BTreeSet<Name>,
    /// NodeProxies that were added, changed or removed.
    pub proxies: BTreeSet<Name>,
    /// Changed health of nodes; `None` if it was removed.
    pub health: Vec<(Name, Option<plan::Health>)>,
    /// Changed probes; `None` if it was removed.
    pub probes: Vec<(Name, Option<plan::Probe>)>,
    /// Invalid resources and endpoints that were left out, each with its name and the reason.
    pub refused: Vec<String>,
}

// === impl Feed ===

impl Feed {
    /// Applies one response. A response with an undecodable resource is rejected as a whole; a resource that
    /// decodes but is invalid is rejected alone.
    ///
    /// # Errors
    /// Returns the name of the undecodable resource and the decoder's error.
    pub fn apply(&mut self, ty: PlanType, upsert: &[Sent], removed: &[Name]) -> Result<Touched, String> {
        let decoded: Result<Vec<_>, _> =
            upsert.iter().map(|(name, _, body)| Decoded::read(ty, name, body)).collect();
        let decoded = decoded?;
        let mut touched = Touched::default();
        for name in removed {
            self.remove(ty, name, &mut touched);
        }
        for ((name, version, _), decoded) in upsert.iter().zip(decoded) {
            self.put((name, *version), decoded, &mut touched);
        }
        self.seen.insert(ty);
        self.heard.insert(ty);
        Ok(touched)
    }

    /// Restores what an earlier agent stored. `complete` tells whether the store held all resources. Returns
    /// the changes, and the errors of undecodable resources, which are left out.
    pub fn restore(
        &mut self,
        kept: &BTreeMap<PlanType, Vec<Sent>>,
        complete: bool,
    ) -> (Touched, Vec<String>) {
        let (mut touched, mut errors) = (Touched::default(), Vec::new());
        for (ty, resources) in kept {
            for (name, version, body) in resources {
                match Decoded::read(*ty, name, body) {
                    Ok(decoded) => self.put((name, *version), decoded, &mut touched),
                    Err(error) => errors.push(error),
                }
            }
        }
        if complete {
            self.seen.extend(<PlanType as portreeve_xds::ResourceType>::ALL);
        }
        (touched, errors)
    }

    /// Returns why the newest version of a Plan is invalid; `None` if it is valid.
    pub fn refused_plan(&self, name: &Name) -> Option<&str> {
        self.refused.get(&(PlanType::Plan, name.clone())).map(String::as_str)
    }

    /// Returns the NodeProxies that the hub wants on this node, with `None` for those without any valid
    /// version.
    pub fn wanted_proxies(&self) -> impl Iterator<Item = (&Name, Option<&NodeProxy>)> {
        let refused = self
            .refused
            .keys()
            .filter(|(ty, name)| *ty == PlanType::NodeProxy && !self.proxies.contains_key(name));
        let good = self.proxies.iter().map(|(name, proxy)| (name, Some(proxy)));
        good.chain(refused.map(|(_, name)| (name, None)))
    }

    /// Returns whether the newest version of a resource is invalid. Then the stored valid version must not be
    /// overwritten.
    pub fn is_refused(&self, ty: PlanType, name: &Name) -> bool {
        self.refused.contains_key(&(ty, name.clone()))
    }

    /// Returns whether the hub itself, not only the store, has sent the complete list of a type.
    pub fn heard(&self, ty: PlanType) -> bool {
        self.heard.contains(&ty)
    }

    /// Returns whether the hub itself, not only the store, has sent the complete list of every type.
    pub fn heard_all(&self) -> bool {
        self.heard.len() == <PlanType as portreeve_xds::ResourceType>::ALL.len()
    }

    /// Returns whether every type has a complete list. Before that, absence does not mean deletion.
    pub fn complete(&self) -> bool {
        self.seen.len() == <PlanType as portreeve_xds::ResourceType>::ALL.len()
    }

    /// Returns the terminating endpoints.
    pub fn terminating(&self) -> impl Iterator<Item = &Endpoint> {
        self.slices.values().flatten().filter(|endpoint| endpoint.terminating_ms.is_some())
    }

    /// Returns a group's endpoints; `None` while one of its slices is missing. An empty group has one empty
    /// slice, so a group with zero slices counts as unknown.
    pub fn group(&self, name: &str) -> Option<Vec<&Endpoint>> {
        let shards = *self.shards.get(name).filter(|shards| **shards > 0)?;
        let mut all = Vec::new();
        for index in 0..shards {
            let slice = self.slices.get(&names::slice_name(name, shards, index))?;
            all.extend(slice.iter().filter(|endpoint| !self.deleted_pods.contains(&*endpoint.uid)));
        }
        Some(all)
    }

    /// Returns the endpoints in all slices of a group, also while one of them is missing. An endpoint may be repeated.
    pub fn endpoints_of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Endpoint> {
        let slices = self.slices.iter().filter(move |(name, _)| names::group_of_slice(name) == group);
        slices.flat_map(|(_, endpoints)| endpoints)
    }

    /// Marks a pod of this node as deleted, whatever the hub sends: the hub may be unreachable, and a uid is
    /// never reused. Returns the Plans that have the pod as an endpoint.
    pub fn mark_deleted(&mut self, uid: &str) -> BTreeSet<Name> {
        let plans = self.plans_with(uid);
        if !plans.is_empty() {
            self.deleted_pods.insert(uid.to_owned());
        }
        plans
    }

    /// Clears the deletion mark of a pod: pods from a folder of manifests have fixed uids and can come back.
    /// Returns the Plans that have the pod as an endpoint.
    pub fn unmark_deleted(&mut self, uid: &str) -> BTreeSet<Name> {
        if self.deleted_pods.remove(uid) { self.plans_with(uid) } else { BTreeSet::new() }
    }

    /// Returns the uids of all endpoints on a node.
    pub fn pods_of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a str> {
        let endpoints = self.slices.values().flatten();
        endpoints.filter(move |endpoint| *endpoint.node == *node).map(|endpoint| &*endpoint.uid)
    }

    fn plans_with(&self, uid: &str) -> BTreeSet<Name> {
        let slices =
            self.slices.iter().filter(|(_, slice)| slice.iter().any(|endpoint| *endpoint.uid == *uid));
        let users = slices.filter_map(|(name, _)| self.users.get(names::group_of_slice(name)));
        users.flatten().cloned().collect()
    }

    /// Forgets deleted pods that no slice contains any more.
    fn prune(&mut self) {
        let slices = &self.slices;
        self.deleted_pods.retain(|uid| slices.values().flatten().any(|endpoint| *endpoint.uid == **uid));
    }

    fn put(&mut self, (name, version): (&Name, Version), decoded: Decoded, touched: &mut Touched) {
        let key = (decoded.ty(), name.clone());
        self.versions.insert(key.clone(), version);
        self.refused.remove(&key);
        match decoded {
            Decoded::Refused(ty, reason) => {
                touched.refused.push(reason.clone());
                match ty {
                    PlanType::NodeProxy => touched.proxies.insert(name.clone()),
                    _ => touched.plans.insert(name.clone()),
                };
                self.refused.insert(key, reason);
            }
            Decoded::Plan(plan) => {
                self.forget_uses(name);
                note(&mut self.users, sources::groups(&plan), name);
                note(&mut self.holders, plan.secrets(), name);
                note(&mut self.routers, led_to(&plan).iter(), name);
                self.plans.insert(name.clone(), Arc::new(plan));
                self.in_force.insert(name.clone(), version);
                touched.plans.insert(name.clone());
            }
            Decoded::Group(group) => {
                self.shards.insert(name.clone(), group.shards as usize);
                self.touch_users(name, touched);
            }
            Decoded::Slice(endpoints, flaws) => {
                touched.refused.extend(flaws.into_iter().map(|flaw| format!("slice {name}: {flaw}")));
                self.slices.insert(name.clone(), endpoints);
                self.prune();
                self.touch_users(names::group_of_slice(name), touched);
            }
            Decoded::NodeProxy(proxy) => {
                self.proxies.insert(name.clone(), proxy);
                touched.proxies.insert(name.clone());
            }
            Decoded::Health(health) => touched.health.push((name.clone(), Some(health))),
            Decoded::Probe(probe) => touched.probes.push((name.clone(), Some(probe))),
            Decoded::Secret(secret) => {
                self.secrets.insert(name.clone(), secret);
                touched.plans.extend(self.holders.get(name).into_iter().flatten().cloned());
            }
        }
    }

    fn remove(&mut self, ty: PlanType, name: &Name, touched: &mut Touched) {
        self.versions.remove(&(ty, name.clone()));
        self.refused.remove(&(ty, name.clone()));
        match ty {
            PlanType::Plan => {
                self.forget_uses(name);
                self.plans.remove(name);
                self.in_force.remove(name);
                touched.plans.insert(name.clone());
            }
            PlanType::Group => {
                self.shards.remove(name);
            }
            PlanType::Slice => {
                self.slices.remove(name);
                self.prune();
            }
            PlanType::NodeProxy => {
                self.proxies.remove(name);
                touched.proxies.insert(name.clone());
            }
            PlanType::Health => touched.health.push((name.clone(), None)),
            PlanType::Probe => touched.probes.push((name.clone(), None)),
            PlanType::Secret => {
                self.secrets.remove(name);
            }
        }
    }

    fn touch_users(&self, group: &str, touched: &mut Touched) {
        touched.plans.extend(self.users.get(group).into_iter().flatten().cloned());
    }

    fn forget_uses(&mut self, name: &Name) {
        let Some(old) = self.plans.get(name) else { return };
        forget(&mut self.users, sources::groups(old), name);
        forget(&mut self.holders, old.secrets(), name);
        forget(&mut self.routers, led_to(old).iter(), name);
    }
}

/// Returns the clusters of other Plans that a Plan's rules lead to, by their names in the proxy.
fn led_to(plan: &Plan) -> Vec<Name> {
    let name = |cluster: &Cluster| match &cluster.elsewhere {
        Some(Elsewhere::Plan(name)) => Some(name.as_str().into()),
        Some(Elsewhere::Proxy(_)) | None => None,
    };
    plan.clusters.iter().filter_map(name).collect()
}

/// Adds a Plan to the users of each of these names.
fn note<'a>(users: &mut HashMap<Name, BTreeSet<Name>>, used: impl Iterator<Item = &'a Name>, plan: &Name) {
    for one in used {
        users.entry(one.clone()).or_default().insert(plan.clone());
    }
}

/// Removes a Plan from the users of each of these names.
fn forget<'a>(users: &mut HashMap<Name, BTreeSet<Name>>, used: impl Iterator<Item = &'a Name>, plan: &Name) {
    for one in used {
        if let Some(plans) = users.get_mut(one) {
            plans.remove(plan);
            if plans.is_empty() {
                users.remove(one);
            }
        }
    }
}
