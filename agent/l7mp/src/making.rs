//! Makes the proxy's own objects from the desired resources ([`make`]).

use std::collections::BTreeMap;

use portreeve_agent_core::translate::l7mp::objects::{Cluster, Endpoints, Listener, Rules};
use serde_json::{Value, json};

use crate::actual::Actual;
use crate::desired::{ClusterEntry, Desired};
use crate::names::{self, Key, Kind};
use crate::rules;
use crate::slot::Slot;
use crate::wanted::{Hold, Refusals, Wanted, WantedCluster, WantedListener, WantedRules};

/// Makes the objects of all desired resources. `actual` tells what the proxy's own configuration has.
pub(crate) fn make(desired: &Desired, actual: &Actual, refusals: &Refusals) -> Wanted {
    let mut wanted = Wanted::default();
    let held = |key: &Key| {
        let (version, text) = refusals.get(key)?;
        (desired.version(key) == Some(*version)).then(|| Hold::Refused(text.clone()))
    };
    for (name, entry) in &desired.clusters {
        let made = held(&Key::new(Kind::Cluster, name.clone())).map_or_else(|| Ok(cluster(name, entry)), Err);
        let endpoints_refused = match held(&Key::new(Kind::Endpoints, name.clone())) {
            Some(Hold::Refused(text)) => Some(text),
            Some(Hold::Waiting(_)) | None => None,
        };
        let made = made.map(|made| WantedCluster { endpoints_refused, ..made });
        wanted.clusters.insert(name.clone(), made);
    }
    for (name, (_, insertion)) in &desired.insertions {
        let made = held(&Key::new(Kind::Rule, name.clone()))
            .map_or_else(|| rules::insertion(name, insertion, &wanted, actual), Err);
        wanted.insertions.insert(name.clone(), made);
    }
    let mut taken: BTreeMap<Slot, String> = actual.foreign_slots();
    for (name, (_, body)) in &desired.listeners {
        let made = held(&Key::new(Kind::Listener, name.clone()))
            .map_or_else(|| listener(name, body, &wanted, actual), Err)
            .and_then(|made| claim(&mut taken, name, made));
        wanted.listeners.insert(name.clone(), made);
    }
    wanted
}

/// Takes a listener's slot, or refuses the listener by the slot's owner.
fn claim(
    taken: &mut BTreeMap<Slot, String>,
    resource: &str,
    made: WantedListener,
) -> Result<WantedListener, Hold> {
    let Some(slot) = &made.slot else { return Ok(made) };
    if let Some(owner) = taken.get(slot) {
        return Err(Hold::Refused(format!(
            "listener {resource} needs {slot} of the proxy, which {owner} has already: choose another one"
        )));
    }
    taken.insert(slot.clone(), format!("listener {resource}"));
    Ok(made)
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
