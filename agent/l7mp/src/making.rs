//! Makes the proxy's own objects from the desired resources ([`remake`]).

use std::collections::{BTreeMap, BTreeSet};

use portreeve_agent_core::translate::l7mp::objects::{Cluster, Endpoints, Listener, Rules};
use portreeve_xds::Name;
use serde_json::{Value, json};

use crate::actual::Actual;
use crate::desired::{ClusterEntry, Desired};
use crate::names::{self, Key, Kind};
use crate::rules;
use crate::slot::Slot;
use crate::wanted::{Good, Hold, Insertion, Refusals, Wanted, WantedCluster, WantedListener, WantedRules};

/// What objects are made from.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The desired resources.
    pub(crate) desired: &'a Desired,
    /// Tells what the proxy's own configuration has.
    pub(crate) actual: &'a Actual,
    /// What the proxy refused.
    pub(crate) refusals: &'a Refusals,
    /// The last acknowledged version of each listener, which stands in for one that the proxy refused.
    pub(crate) good: &'a Good,
}

/// Makes the objects of resources again. Those that others of them depend on join `dirty`.
pub(crate) fn remake(wanted: &mut Wanted, dirty: &mut BTreeSet<Key>, ground: Ground<'_>) {
    let of = |dirty: &BTreeSet<Key>, kinds: &[Kind]| -> BTreeSet<Name> {
        dirty.iter().filter(|key| kinds.contains(&key.kind)).map(|key| key.name.clone()).collect()
    };
    for name in of(dirty, &[Kind::Cluster, Kind::Endpoints]) {
        dirty.insert(Key::new(Kind::Cluster, name.clone()));
        dirty.insert(Key::new(Kind::Endpoints, name.clone()));
        let before = wanted.cluster_name(&name).map(str::to_owned);
        put(&mut wanted.clusters, &name, ground.cluster(&name));
        if wanted.cluster_name(&name).map(str::to_owned) != before {
            dirty.extend(wanted.users(&name).cloned());
        }
    }
    for name in of(dirty, &[Kind::Rule]) {
        let body = ground.desired.insertions.get(&name);
        let leads = body.map(|(_, body)| rules::leads(std::slice::from_ref(&body.rule)));
        wanted.lead(&Key::new(Kind::Rule, name.clone()), leads.unwrap_or_default());
        let made = ground.insertion(&name, wanted);
        put(&mut wanted.insertions, &name, made);
    }
    let (mut queue, mut made) = (of(dirty, &[Kind::Listener]), BTreeMap::new());
    while let Some(name) = queue.pop_first() {
        let body = ground.listener_body(&name).and_then(Result::ok);
        let leads = match body.map(|body| &body.rules) {
            Some(Rules::These(these)) => rules::leads(these),
            Some(Rules::List(_)) | None => BTreeSet::new(),
        };
        wanted.lead(&Key::new(Kind::Listener, name.clone()), leads);
        let one = ground.listener(&name, wanted);
        let slot = one.as_ref().and_then(|made| made.as_ref().ok()?.slot.clone());
        for other in wanted.claim(&name, slot) {
            if dirty.insert(Key::new(Kind::Listener, other.clone())) {
                queue.insert(other);
            }
        }
        made.insert(name, one);
    }
    for (name, made) in made {
        let made = made.map(|made| made.and_then(|made| granted(wanted, &name, made, ground.actual)));
        put(&mut wanted.listeners, &name, made);
    }
}

fn put<T>(map: &mut BTreeMap<Name, T>, name: &Name, new: Option<T>) {
    match new {
        Some(new) => drop(map.insert(name.clone(), new)),
        None => drop(map.remove(name)),
    }
}

/// Refuses a listener whose slot another one has.
fn granted(
    wanted: &Wanted,
    resource: &Name,
    made: WantedListener,
    actual: &Actual,
) -> Result<WantedListener, Hold> {
    let Some(slot) = &made.slot else { return Ok(made) };
    let foreign = actual.foreign_at(slot).map(|name| format!("the proxy's own listener {name:?}"));
    let other = wanted.owner(slot).filter(|owner| *owner != resource);
    match foreign.or_else(|| other.map(|name| format!("listener {name}"))) {
        None => Ok(made),
        Some(owner) => Err(Hold::Refused(format!(
            "listener {resource} needs {slot} of the proxy, which {owner} has already: choose another one"
        ))),
    }
}

// === impl Ground ===

impl<'a> Ground<'a> {
    /// Returns why the proxy refused the desired version of a resource.
    pub(crate) fn refusal(&self, key: &Key) -> Option<&'a String> {
        let (version, text) = self.refusals.get(key)?;
        (self.desired.version(key) == Some(*version)).then_some(text)
    }

    fn cluster(&self, name: &Name) -> Option<Result<WantedCluster, Hold>> {
        let entry = self.desired.clusters.get(name)?;
        if let Some(text) = self.refusal(&Key::new(Kind::Cluster, name.clone())) {
            return Some(Err(Hold::Refused(text.clone())));
        }
        let endpoints_refused = self.refusal(&Key::new(Kind::Endpoints, name.clone())).cloned();
        Some(Ok(WantedCluster { endpoints_refused, ..cluster(name, entry) }))
    }

    fn insertion(&self, name: &Name, wanted: &Wanted) -> Option<Result<Insertion, Hold>> {
        let (_, body) = self.desired.insertions.get(name)?;
        if let Some(text) = self.refusal(&Key::new(Kind::Rule, name.clone())) {
            return Some(Err(Hold::Refused(text.clone())));
        }
        Some(rules::insertion(name, body, wanted, self.actual))
    }

    /// Returns a listener's desired version, or the last good one if the proxy refused it.
    fn listener_body(&self, name: &Name) -> Option<Result<&'a Listener, Hold>> {
        let (_, body) = self.desired.listeners.get(name)?;
        let Some(text) = self.refusal(&Key::new(Kind::Listener, name.clone())) else { return Some(Ok(body)) };
        let good = self.good.get(name).map(|(_, body)| &**body);
        Some(good.ok_or_else(|| Hold::Refused(text.clone())))
    }

    /// Makes a listener as if nobody else asked for its slot.
    fn listener(&self, name: &Name, wanted: &Wanted) -> Option<Result<WantedListener, Hold>> {
        Some(self.listener_body(name)?.and_then(|body| listener(name, body, wanted, self.actual)))
    }
}

fn cluster(resource: &str, entry: &ClusterEntry) -> WantedCluster {
    let Cluster { spec, loadbalancer } = &*entry.cluster;
    let name = names::object(resource, &*entry.cluster);
    let mut body = json!({"name": name, "spec": spec});
    if let Some(balancer) = loadbalancer {
        body["loadbalancer"] = json!(balancer);
    }
    let Endpoints { endpoints } = &*entry.endpoints;
    let endpoints = endpoints.iter().map(|one| (names::endpoint(&name, &one.address), one.clone())).collect();
    WantedCluster { name, body, endpoints, endpoints_refused: None }
}

fn listener(
    resource: &str,
    body: &Listener,
    wanted: &Wanted,
    actual: &Actual,
) -> Result<WantedListener, Hold> {
    let (rules, list) = match &body.rules {
        Rules::List(list) if actual.has_foreign_list(list) => (WantedRules::List(list.clone()), Some(list)),
        Rules::List(list) => return Err(rules::no_list(resource, list)),
        Rules::These(these) => (WantedRules::These(rules::these(resource, these, wanted, actual)?), None),
    };
    let name = names::listener(resource, &(&body.spec, body.track, list), body.ends_sessions);
    let mut made = json!({"name": name, "spec": body.spec});
    if let Some(track) = body.track {
        made["options"] = json!({"track": track});
    }
    let text = |pointer| made.pointer(pointer).is_some_and(|value| !value.is_null());
    let mode = made.pointer("/spec/options/mode").and_then(Value::as_str);
    let connected = made.pointer("/spec/protocol").and_then(Value::as_str) == Some("UDP")
        && text("/spec/connect/address")
        && text("/spec/connect/port")
        && mode.is_none_or(|mode| mode == "singleton");
    Ok(WantedListener { name, slot: Slot::of(&body.spec), connected, rules, body: made })
}

#[cfg(test)]
mod tests;
