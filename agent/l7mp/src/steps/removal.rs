//! Steps that remove what isn't wanted any more: listeners first, then what nothing refers to. Objects of the proxy's own
//! configuration are never touched.

use portreeve_xds::Name;

use super::Planner;
use crate::action::Action;
use crate::actual::Actual;
use crate::names::{self, Key, Kind};
use crate::wanted::Hold;

impl Planner<'_> {
    /// Removes everything of the driver's that isn't wanted and to which nothing wanted refers.
    pub(super) fn remove(&mut self) {
        self.remove_listeners();
        self.unlink_rules();
        self.remove_lists();
        self.remove_rules();
        self.remove_clusters();
    }

    fn remove_listeners(&mut self) {
        let wanted = self.wanted;
        let present = self.after.listeners.iter().map(|(name, seen)| (name.clone(), seen.list.clone()));
        for (name, list) in present.collect::<Vec<_>>() {
            let Some(resource) = names::resource(&name).map(str::to_owned) else { continue };
            let made = wanted.listeners.get(resource.as_str());
            let made = made.map(|made| made.as_ref().map(|made| made.name.as_str()));
            if self.stays(&name, made) {
                continue;
            }
            if Actual::is_unread(&list) {
                self.unread.insert(name);
                continue;
            }
            // The new version may be waiting for a list to be read.
            let awaited =
                made.and_then(Result::ok).is_some_and(|new| !self.after.listeners.contains_key(new));
            if !awaited {
                self.delete_listener(Key::new(Kind::Listener, resource), name);
            }
        }
    }

    /// Takes rules out of the proxy's own lists.
    fn unlink_rules(&mut self) {
        for resource in self.of(Kind::Rule) {
            let foreign = self.after.linked(resource).into_iter().filter(|(list, _)| !names::is_own(list));
            for (list, rule) in foreign {
                self.unlink_rule(resource, list, rule);
            }
        }
    }

    fn unlink_rule(&mut self, resource: &Name, list: String, rule: String) {
        let made = self.wanted.insertions.get(resource);
        let here = made.map(|made| {
            made.as_ref().map(|made| if made.list == list { made.rule.name.as_str() } else { "" })
        });
        if !self.stays(&rule, here) {
            self.push(Key::new(Kind::Rule, resource.clone()), Action::Unlink { list, rule });
        }
    }

    /// Whether an object of a resource stays: it is the wanted one, the wanted one is held back, or its absence is no
    /// deletion.
    fn stays(&self, name: &str, wanted: Option<Result<&str, &Hold>>) -> bool {
        match wanted {
            Some(Ok(current)) => current == name,
            Some(Err(_)) => true,
            None => self.desired.keep_all,
        }
    }

    /// Removes lists without a listener. A list that the proxy made for a listener has the listener's name in its own.
    fn remove_lists(&mut self) {
        let unused = |name: &&String| names::is_own(name) && self.after.listeners_of(name).next().is_none();
        for name in self.after.lists.keys().filter(unused).cloned().collect::<Vec<_>>() {
            let owner = Key::new(Kind::Listener, names::resource(&name).unwrap_or_default());
            self.push(owner, Action::DeleteList { name });
        }
    }

    /// Removes rules that are in no list, and routes without a rule.
    fn remove_rules(&mut self) {
        let unlisted = |name: &&String| self.after.lists_of(name).next().is_none();
        for name in self.after.rules.keys().filter(unlisted).cloned().collect::<Vec<_>>() {
            self.push(rule_owner(&name), Action::DeleteRule { name });
        }
        let unused = |name: &&String| self.after.rules_of(name).next().is_none();
        for name in self.after.routes.keys().filter(unused).cloned().collect::<Vec<_>>() {
            self.push(rule_owner(&name), Action::DeleteRoute { name });
        }
    }

    fn remove_clusters(&mut self) {
        let wanted = self.wanted;
        for name in self.after.clusters.keys().cloned().collect::<Vec<_>>() {
            let Some(resource) = names::resource(&name).map(str::to_owned) else { continue };
            let made = wanted.clusters.get(resource.as_str());
            let replaced = made.is_some();
            let made = made.map(|made| made.as_ref().map(|made| made.name.as_str()));
            if !self.is_used(&name) && !self.stays(&name, made) {
                let recursive = self.sessions.recursive && replaced;
                self.push(Key::new(Kind::Cluster, resource), Action::DeleteCluster { name, recursive });
            }
        }
    }

    /// Whether a route leads to a cluster after the steps so far.
    fn is_used(&self, cluster: &String) -> bool {
        let elsewhere = self.whole.routes_of(cluster).any(|route| !self.routes.contains(route));
        elsewhere || self.after.routes_of(cluster).next().is_some()
    }
}

/// Returns the owner of a rule or route. Those of listeners and of rule resources look alike; failures of removals are
/// reported for neither.
fn rule_owner(name: &str) -> Key {
    let resource = names::rule_resource(name).map_or("", |(resource, _)| resource);
    Key::new(Kind::Rule, resource)
}
