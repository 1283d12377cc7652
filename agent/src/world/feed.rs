//! What the hub sent, read: Plans, their groups and the NodeProxies of this node.
//!
//! A response that is no protobuf is refused whole. A Plan or a NodeProxy that makes no sense is refused alone: its last version
//! that could be read stays in force, and the reason is kept for its status.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use portreeve_api::model::{Endpoint, NodeProxy, Plan};
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
    /// Uids of pods of this node that are gone and that a slice still has.
    buried: HashSet<String>,
    /// Group → Plans that name it.
    users: HashMap<Name, BTreeSet<Name>>,
    /// Resources whose last version makes no sense, with the reasons.
    pub refused: BTreeMap<(PlanType, Name), String>,
    /// The versions of `plans`.
    pub in_force: BTreeMap<Name, Version>,
    /// What the hub sent last, for a reconnect.
    pub versions: BTreeMap<(PlanType, Name), Version>,
    /// Types of which everything was said: by the hub, or to an earlier agent that kept it.
    seen: BTreeSet<PlanType>,
    /// Types whose first response came from the hub.
    heard: BTreeSet<PlanType>,
}

/// A resource as the hub sent it.
pub type Sent = (Name, Version, Bytes);

/// What a response changed.
#[derive(Debug, Default, PartialEq)]
pub struct Touched {
    /// Plans to translate anew (or to withdraw, when they are gone).
    pub plans: BTreeSet<Name>,
    /// NodeProxies that came, changed or went.
    pub proxies: BTreeSet<Name>,
    /// What was said of the health of nodes; none: nothing any more.
    pub health: Vec<(Name, Option<plan::Health>)>,
    /// Probes that are asked for; none: not any more.
    pub probes: Vec<(Name, Option<plan::Probe>)>,
    /// What was left out because it makes no sense, each with its name and the reason.
    pub refused: Vec<String>,
}

// === impl Feed ===

impl Feed {
    /// Takes one response's content. A response that can't be decoded is refused whole; what can be decoded and makes no
    /// sense is refused alone.
    ///
    /// # Errors
    /// The name of the resource that can't be decoded, and what is wrong with it.
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

    /// Takes in what an earlier agent kept; answers with what it changed, and with the errors of what can't be decoded
    /// and is left out.
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

    /// Why the last version of a Plan can't be read; `None`: it could.
    pub fn refused_plan(&self, name: &Name) -> Option<&str> {
        self.refused.get(&(PlanType::Plan, name.clone())).map(String::as_str)
    }

    /// The NodeProxies that the hub wants here, with `None` for those of which no version could be read.
    pub fn wanted_proxies(&self) -> impl Iterator<Item = (&Name, Option<&NodeProxy>)> {
        let refused = self
            .refused
            .keys()
            .filter(|(ty, name)| *ty == PlanType::NodeProxy && !self.proxies.contains_key(name));
        let good = self.proxies.iter().map(|(name, proxy)| (name, Some(proxy)));
        good.chain(refused.map(|(_, name)| (name, None)))
    }

    /// Whether the last version of a resource can't be read: it is not to be kept in the place of the one in force.
    pub fn is_refused(&self, ty: PlanType, name: &Name) -> bool {
        self.refused.contains_key(&(ty, name.clone()))
    }

    /// Whether the hub itself has said everything of a type.
    pub fn heard(&self, ty: PlanType) -> bool {
        self.heard.contains(&ty)
    }

    /// Whether the hub itself has said everything of every type.
    pub fn heard_all(&self) -> bool {
        self.heard.len() == <PlanType as portreeve_xds::ResourceType>::ALL.len()
    }

    /// Whether every type has had its first response: before that nothing is known to be absent.
    pub fn complete(&self) -> bool {
        self.seen.len() == <PlanType as portreeve_xds::ResourceType>::ALL.len()
    }

    /// The endpoints that are to go.
    pub fn terminating(&self) -> impl Iterator<Item = &Endpoint> {
        self.slices.values().flatten().filter(|endpoint| endpoint.terminating_ms.is_some())
    }

    /// A group's endpoints; none while one of its slices is missing. A group that is empty has a slice that says so:
    /// one that claims to have no slices is not known.
    pub fn group(&self, name: &str) -> Option<Vec<&Endpoint>> {
        let shards = *self.shards.get(name).filter(|shards| **shards > 0)?;
        let mut all = Vec::new();
        for index in 0..shards {
            let slice = self.slices.get(&names::slice_name(name, shards, index))?;
            all.extend(slice.iter().filter(|endpoint| !self.buried.contains(&*endpoint.uid)));
        }
        Some(all)
    }

    /// A pod is gone, whatever the hub said of it: it may be away, and a uid never comes back. Answers with the Plans that
    /// have the pod.
    pub fn bury(&mut self, uid: &str) -> BTreeSet<Name> {
        let plans = self.plans_with(uid);
        if !plans.is_empty() {
            self.buried.insert(uid.to_owned());
        }
        plans
    }

    /// A pod is there after all (a folder's pods have the uids that their files give them).
    pub fn unearth(&mut self, uid: &str) -> BTreeSet<Name> {
        if self.buried.remove(uid) { self.plans_with(uid) } else { BTreeSet::new() }
    }

    /// The uids of all pods that are said to be on a node.
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

    /// Forgets the buried that no slice has any more.
    fn prune(&mut self) {
        let slices = &self.slices;
        self.buried.retain(|uid| slices.values().flatten().any(|endpoint| *endpoint.uid == **uid));
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
                for group in groups_of(&plan) {
                    self.users.entry(group).or_default().insert(name.clone());
                }
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
            Decoded::Secret => {}
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
            PlanType::Secret => {}
        }
    }

    fn touch_users(&self, group: &str, touched: &mut Touched) {
        touched.plans.extend(self.users.get(group).into_iter().flatten().cloned());
    }

    fn forget_uses(&mut self, name: &Name) {
        let Some(old) = self.plans.get(name) else { return };
        for group in groups_of(old) {
            if let Some(users) = self.users.get_mut(&group) {
                users.remove(name);
                if users.is_empty() {
                    self.users.remove(&group);
                }
            }
        }
    }
}

fn groups_of(plan: &Plan) -> BTreeSet<Name> {
    sources::groups(plan).cloned().collect()
}
