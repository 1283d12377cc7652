//! The verbs of the names that proxies announce to their agents.

use std::collections::{BTreeMap, BTreeSet};

use super::Index;
use super::matches::Name;
use super::pod::KnownPod;

// === impl Index ===

impl Index {
    /// Sets the names that the proxies of a node's pods announced, by the pods' uids, as the node's agent reports them.
    pub fn set_announced(&mut self, node: &Name, names: BTreeMap<Name, String>, now_ms: i64) {
        let old = match names.is_empty() {
            true => self.announced.remove(node),
            false => self.announced.insert(node.clone(), names),
        };
        self.follow_announced(node, old.unwrap_or_default(), now_ms);
    }

    /// Adds the names that an agent sends when it connects. A report that arrives at the same time may be newer, so these
    /// names replace none.
    pub fn add_announced(&mut self, node: &Name, names: BTreeMap<Name, String>, now_ms: i64) {
        let mut all = names;
        all.extend(self.announced.get(node).cloned().unwrap_or_default());
        self.set_announced(node, all, now_ms);
    }

    /// Forgets the names of a node that is gone.
    pub(super) fn forget_announced(&mut self, node: &Name, now_ms: i64) {
        self.set_announced(node, BTreeMap::new(), now_ms);
    }

    /// The name of a pod's proxy: the one that its annotation sets, or else the one that the proxy announced.
    pub(super) fn proxy_name_of<'a>(&'a self, uid: &Name, pod: &'a KnownPod) -> Option<&'a str> {
        let announced = || self.announced.get(pod.node.as_ref()?)?.get(uid).map(String::as_str);
        pod.proxy_name.as_deref().or_else(announced)
    }

    /// Updates the pods of a node whose names differ from the `old` ones.
    fn follow_announced(&mut self, node: &Name, old: BTreeMap<Name, String>, now_ms: i64) {
        let new = self.announced.get(node);
        let name_of = |uid: &Name| new.and_then(|new| new.get(uid));
        let known = old.keys().chain(new.into_iter().flat_map(BTreeMap::keys));
        let changed: BTreeSet<Name> = known.filter(|uid| old.get(*uid) != name_of(uid)).cloned().collect();
        for uid in changed {
            if self.selections.pod(&uid).is_some_and(|pod| pod.node.as_ref() == Some(node)) {
                self.renew_pod(&uid, now_ms);
            }
        }
    }
}
