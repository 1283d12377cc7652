//! What a proxy has accepted, byte for byte ([`Ledger`]), and what follows for what it is sent.
//!
//! Any change of a UDP listener or of its cluster makes Envoy forget all its sessions. So what an earlier agent sent
//! stays as it is, whatever this agent would make of the same inputs, until the inputs change or the proxy starts anew.
//! And what a proxy refuses gives way to what it last accepted.

use std::collections::BTreeMap;
use std::sync::Arc;

use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Name, Resource, Version};
use xxhash_rust::xxh3::Xxh3;

use super::proxy::Contribution;
use crate::translate::{Families, listener};

/// A resource's type and name.
type Key = (EnvoyType, Name);

/// Versions of one resource that may wait for the proxy's answer; it has at most four responses to answer.
const OFFERED: usize = 4;

/// A resource that a proxy accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its type.
    pub ty: EnvoyType,
    /// What it was made from, see `inputs`.
    pub inputs: u64,
    /// The resource.
    pub resource: Arc<Resource>,
}

/// What one proxy accepted and refused.
#[derive(Default)]
pub struct Ledger {
    pages: BTreeMap<Name, Page>,
    refused: BTreeMap<Key, Refusal>,
    /// No longer refused, and nothing is sent for it: what was accepted is what is wanted again.
    cleared: Vec<Key>,
}

/// A proxy's no to one version of a resource.
struct Refusal {
    version: Version,
    /// In its own words.
    text: String,
}

/// The part of one Plan.
#[derive(Default)]
struct Page {
    lines: BTreeMap<Key, Line>,
    /// Put up, and neither accepted nor refused yet; the newest last.
    offered: BTreeMap<Key, Vec<Accepted>>,
}

struct Line {
    accepted: Accepted,
    /// An earlier agent sent it: it stays for as long as its inputs do.
    pinned: bool,
}

/// A hash of what a Plan's clusters and listeners are made from: the Plan's version, the proxy's families, and the
/// listeners that lost their port.
pub fn inputs<'a>(plan: Version, families: Families, denied: impl Iterator<Item = &'a String>) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&plan.0.to_le_bytes());
    hash.update(&[match families {
        Families::V4 => 0,
        Families::V6 => 1,
        Families::Dual => 2,
        Families::DualV6First => 3,
    }]);
    for listener in denied {
        hash.update(listener.as_bytes());
        hash.update(&[0]);
    }
    hash.digest()
}

// === impl Accepted ===

impl Accepted {
    /// A resource from its bytes. A cluster's assignment has its name.
    pub fn new(ty: EnvoyType, name: Name, inputs: u64, body: &[u8]) -> Self {
        let resource = match ty {
            EnvoyType::Cluster => Resource::with_companion(ty, name.clone(), body, name),
            EnvoyType::Listener => listener::of_bytes(name, body),
            _ => Resource::new(ty, name, body),
        };
        Self { ty, inputs, resource }
    }

    fn key(&self) -> Key {
        (self.ty, self.resource.name().clone())
    }
}

// === impl Ledger ===

impl Ledger {
    /// Takes in what an earlier agent kept of a Plan.
    pub fn restore(&mut self, plan: Name, all: Vec<Accepted>) {
        let lines = all.into_iter().map(|accepted| (accepted.key(), Line { accepted, pinned: true }));
        self.pages.entry(plan).or_default().lines.extend(lines);
    }

    /// The versions that were accepted last.
    pub fn accepted(&self) -> impl Iterator<Item = (Key, Version)> {
        let lines = self.pages.values().flat_map(|page| &page.lines);
        lines.map(|(key, line)| (key.clone(), line.accepted.resource.version()))
    }

    /// The Plans that something was accepted of.
    pub fn plans(&self) -> impl Iterator<Item = &Name> {
        self.pages.keys()
    }

    /// Puts what was accepted in the place of what would harm the proxy; true when there is something else to keep.
    pub fn amend(&mut self, plan: &Name, inputs: u64, made: &mut Contribution) -> bool {
        let page = self.pages.entry(plan.clone()).or_default();
        page.reinstate(inputs, made);
        let mut changed = false;
        for (key, resource) in &mut made.resources {
            let refused = self.refused.get(key).is_some_and(|no| no.version == resource.version());
            let changes_its_mind = !refused && self.refused.remove(key).is_some();
            let made_version = resource.version();
            changed |= page.choose(key, inputs, refused, resource);
            if resource.version() != made_version && refused {
                made.refused.insert(key.clone(), made_version);
            }
            if changes_its_mind && !page.offered.contains_key(key) {
                self.cleared.push(key.clone());
            }
        }
        let before = page.lines.len();
        page.lines.retain(|key, _| made.resources.contains_key(key));
        page.offered.retain(|key, _| made.resources.contains_key(key));
        changed | (page.lines.len() != before)
    }

    /// All that was accepted of a Plan, as it was, for when nothing better can be made; none: nothing.
    pub fn whole(&self, plan: &str) -> Option<Contribution> {
        let lines = &self.pages.get(plan)?.lines;
        let resources: BTreeMap<_, _> =
            lines.iter().map(|(key, line)| (key.clone(), line.accepted.resource.clone())).collect();
        (!resources.is_empty()).then(|| Contribution { resources, ..Contribution::default() })
    }

    /// The proxy accepted a version; answers whether there is something else to keep.
    pub fn accept(&mut self, plan: &str, key: &Key, version: Version) -> bool {
        if self.refused.get(key).is_some_and(|no| no.version == version) {
            self.refused.remove(key);
        }
        let Some(page) = self.pages.get_mut(plan) else { return false };
        let Some(offered) = page.offered.get_mut(key) else { return false };
        let Some(at) = offered.iter().position(|one| one.resource.version() == version) else { return false };
        let accepted = offered.drain(..=at).next_back();
        if offered.is_empty() {
            page.offered.remove(key);
        }
        accepted.is_some_and(|accepted| {
            page.lines.insert(key.clone(), Line { accepted, pinned: false });
            true
        })
    }

    /// The proxy refused a version for what is in it, in these words.
    pub fn refuse(&mut self, plan: &str, key: &Key, version: Version, text: &str) {
        self.refused.insert(key.clone(), Refusal { version, text: text.to_owned() });
        let Some(page) = self.pages.get_mut(plan) else { return };
        // What was good for an earlier process of this proxy is not for this one.
        page.lines.retain(|held, line| held != key || line.accepted.resource.version() != version);
        if let Some(offered) = page.offered.get_mut(key) {
            offered.retain(|one| one.resource.version() != version);
        }
    }

    /// Whether the newest version of a resource was refused.
    pub fn refused(&self, key: &Key) -> bool {
        self.refused.contains_key(key)
    }

    /// What is refused, with the proxy's words.
    pub fn refusals(&self) -> impl Iterator<Item = (Key, Version, String)> {
        self.refused.iter().map(|(key, no)| (key.clone(), no.version, no.text.clone()))
    }

    /// Takes the resources whose refusal is of the past without the proxy's word.
    pub fn take_cleared(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.cleared)
    }

    /// The proxy started anew: nothing is lost by sending what this agent makes.
    pub fn unpin(&mut self) {
        self.pages.values_mut().flat_map(|page| page.lines.values_mut()).for_each(|line| line.pinned = false);
    }

    /// Forgets a Plan; true when something was kept of it.
    pub fn forget(&mut self, plan: &str) -> bool {
        let gone = self.pages.remove(plan);
        let prefix = format!("{plan}/");
        self.refused.retain(|(_, name), _| !name.starts_with(&prefix));
        gone.is_some_and(|page| !page.lines.is_empty())
    }

    /// What is to be kept of a Plan; empty: nothing.
    pub fn kept(&self, plan: &str) -> Vec<Accepted> {
        let lines = self.pages.get(plan).into_iter().flat_map(|page| page.lines.values());
        lines.map(|line| line.accepted.clone()).collect()
    }
}

// === impl Page ===

impl Page {
    /// Adds what the same inputs once gave and now do not.
    fn reinstate(&self, inputs: u64, made: &mut Contribution) {
        let missing = self.lines.iter().filter(|(key, line)| {
            line.stays(inputs) && !made.resources.contains_key(*key) && key.0 != EnvoyType::Endpoint
        });
        let missing: Vec<Key> = missing.map(|(key, _)| key.clone()).collect();
        for key in missing {
            let assignment = (EnvoyType::Endpoint, key.1.clone());
            for key in [key, assignment] {
                if let Some(line) = self.lines.get(&key) {
                    made.resources.entry(key).or_insert_with(|| line.accepted.resource.clone());
                }
            }
        }
    }

    /// Decides between what was made and what was accepted; true when there is something else to keep.
    fn choose(&mut self, key: &Key, inputs: u64, refused: bool, resource: &mut Arc<Resource>) -> bool {
        let assigned = key.0 == EnvoyType::Endpoint;
        if let Some(line) = self.lines.get_mut(key) {
            if refused || (line.stays(inputs) && !assigned) {
                *resource = line.accepted.resource.clone();
            }
            if line.accepted.resource.version() == resource.version() {
                self.offered.remove(key);
                // Other inputs that come to the same: the proxy has them already.
                let anew = !refused && !assigned && line.accepted.inputs != inputs;
                if anew {
                    line.accepted.inputs = inputs;
                }
                return anew;
            }
        }
        if !refused {
            self.offer(key, inputs, resource);
        }
        false
    }

    fn offer(&mut self, key: &Key, inputs: u64, resource: &Arc<Resource>) {
        let offered = self.offered.entry(key.clone()).or_default();
        if offered.last().is_some_and(|last| last.resource.version() == resource.version()) {
            return;
        }
        if offered.len() == OFFERED {
            offered.remove(0);
        }
        offered.push(Accepted { ty: key.0, inputs, resource: resource.clone() });
    }
}

// === impl Line ===

impl Line {
    fn stays(&self, inputs: u64) -> bool {
        self.pinned && self.accepted.inputs == inputs
    }
}
