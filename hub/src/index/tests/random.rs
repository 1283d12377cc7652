//! Random sequences of verbs with a fixed seed: what agents gather from changes equals what one that connects is sent,
//! and what an index would say that only ever saw the final state.

use super::health::{mk_checked, mk_health};
use super::things::{GATE, Thing, mk_thing, thing_key};
use super::*;
use crate::lookup::{SecretBytes, SecretFacts};

const NODES: [&str; 6] = ["n0", "n1", "n2", "n3", "n4", "n5"];
const STEPS: usize = 2_000;

/// xorshift64*: small, and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `below`.
    pub fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

/// The state that the verbs led to.
#[derive(Default)]
struct Model {
    pods: BTreeMap<String, Pod>,
    services: BTreeMap<String, VirtualService>,
    proxies: BTreeMap<String, NodeProxy>,
    nodes: BTreeMap<&'static str, Labels>,
    namespaces: BTreeMap<&'static str, Labels>,
    health: BTreeMap<&'static str, u64>,
    gates: BTreeMap<String, Thing>,
    secrets: BTreeMap<Name, u64>,
}

const LABELS: [&str; 6] = ["app=a", "app=b", "app=c", "app=a,tier=x", "app=b,tier=x", "tier=x"];

fn random_pod(dice: &mut Dice, name: &str) -> Pod {
    let node = if dice.roll(5) == 0 { "" } else { dice.pick(&NODES) };
    let pod = mk_pod(name, dice.pick(&LABELS), node);
    Pod {
        namespace: dice.pick(&["ns", "ns", "ns", "far"]).into(),
        ready: dice.roll(4) > 0,
        terminating_ms: if dice.roll(6) == 0 { 77 } else { 0 },
        ..pod
    }
}

fn random_proxy(dice: &mut Dice, name: &str) -> NodeProxy {
    let team = json!({"matchLabels": {"team": dice.pick(&["red", "blue"])}});
    let allowed = match dice.roll(3) {
        0 => json!({"from": "All"}),
        1 => json!({"from": "List", "names": [dice.pick(&["ns", "far"])]}),
        _ => json!({"from": "Selector", "selector": team}),
    };
    mk_proxy(name, dice.pick(&["", "edge=yes", "edge=no"]), dice.pick(&LABELS), allowed)
}

fn random_service(dice: &mut Dice, name: &str, upstreams: &[&str; 2]) -> VirtualService {
    let interval = 1000 * (1 + dice.roll(3) as u64);
    match dice.roll(2) {
        0 => mk_vs(name, dice.pick(&LABELS), &upstreams[..1 + dice.roll(2)]),
        _ => {
            let mut object = mk_checked(name, upstreams[0], &[(interval, 7), (2000, 8)][..1 + dice.roll(2)]);
            object.spec.selector = mk_labels(dice.pick(&LABELS));
            object
        }
    }
}

fn step(dice: &mut Dice, model: &mut Model, index: &mut Index, now: i64) {
    let number = dice.roll(12);
    match dice.roll(16) {
        0..=3 => {
            let pod = random_pod(dice, &format!("p{number}"));
            model.pods.insert(pod.uid.to_string(), pod.clone());
            index.apply_pod(pod, now);
        }
        4 => {
            model.pods.remove(&format!("p{number}"));
            index.delete_pod(&format!("p{number}").into(), now);
        }
        5 | 6 => {
            let upstreams = [dice.pick(&LABELS), dice.pick(&LABELS)];
            let object = random_service(dice, &format!("v{}", number % 6), &upstreams);
            index.apply(&object);
            model.services.insert(format!("v{}", number % 6), object);
        }
        7 => index.apply(&mk_bad_vs(&format!("v{}", number % 6))),
        8 => {
            model.services.remove(&format!("v{}", number % 6));
            index.delete(&key(&format!("v{}", number % 6)));
        }
        9 => {
            let proxy = random_proxy(dice, &format!("x{}", number % 3));
            index.apply_proxy(&proxy, now);
            model.proxies.insert(format!("x{}", number % 3), proxy);
        }
        10 => {
            model.proxies.remove(&format!("x{}", number % 3));
            index.delete_proxy(&format!("x{}", number % 3).into(), now);
        }
        11 => {
            let node = dice.pick(&NODES);
            model.health.insert(node, number as u64);
            index.set_health(&node.into(), Some(&mk_health(node, number as u64)));
        }
        14 => step_of_gate(dice, model, index, now),
        15 => step_of_secret(dice, model, index),
        12 => step_of_namespace(dice, model, index, now),
        _ => step_of_node(dice, model, index, now),
    }
}

fn step_of_namespace(dice: &mut Dice, model: &mut Model, index: &mut Index, now: i64) {
    let namespace = dice.pick(&["ns", "far"]);
    if dice.roll(4) == 0 {
        model.namespaces.remove(namespace);
        index.delete_namespace(&namespace.into(), now);
    } else {
        let labels = mk_labels(dice.pick(&["team=red", "team=blue", "team=red,stage=test"]));
        model.namespaces.insert(namespace, labels.clone());
        index.apply_namespace(&namespace.into(), labels, now);
    }
}

/// A Gate with the certificate of a Secret, which may not exist.
fn step_of_gate(dice: &mut Dice, model: &mut Model, index: &mut Index, now: i64) {
    let name = format!("g{}", dice.roll(4));
    if dice.roll(3) == 0 {
        model.gates.remove(&name);
        index.delete_object(&thing_key(&GATE, &name), now);
    } else {
        let spec = json!({"tls": dice.pick(&["s", "t"]), "workload": dice.pick(&LABELS)});
        let gate = mk_thing(&GATE, &name, spec);
        index.apply_object(&gate, now);
        model.gates.insert(name, gate);
    }
    read_secrets(model, index);
}

fn step_of_secret(dice: &mut Dice, model: &mut Model, index: &mut Index) {
    let name = dice.pick(&["s", "t"]).into();
    match dice.roll(3) {
        0 => drop(model.secrets.remove(&name)),
        _ => drop(model.secrets.insert(name, dice.roll(3) as u64)),
    }
    read_secrets(model, index);
}

/// Reads the Secrets that Gates ask for.
fn read_secrets(model: &Model, index: &mut Index) {
    for at in index.wanted_secrets().clone().into_keys() {
        let content = |key: &str, number: &u64| (key.into(), SecretBytes::new(number.to_le_bytes().to_vec()));
        let of = |number| SecretFacts::new("", ["tls.crt", "tls.key"].map(|key| content(key, number)).into());
        let facts = model.secrets.get(&at.1).map(of);
        index.set_secret(at, facts);
    }
}

fn all_namespaces(model: &Model) -> Vec<(Name, Labels)> {
    model.namespaces.iter().map(|(name, labels)| ((*name).into(), labels.clone())).collect()
}

fn step_of_node(dice: &mut Dice, model: &mut Model, index: &mut Index, now: i64) {
    let node = dice.pick(&NODES);
    if dice.roll(4) == 0 {
        model.nodes.remove(node);
        index.delete_node(&node.into(), now);
    } else {
        let labels = mk_labels(dice.pick(&["edge=yes", "edge=no"]));
        model.nodes.insert(node, labels.clone());
        index.apply_node(node.into(), labels, now);
    }
}

/// An index that is told the final state only, by resets.
fn from_scratch(model: &Model) -> Index {
    let mut index = mk_index();
    index.reset_nodes(model.nodes.iter().map(|(n, l)| ((*n).into(), l.clone())).collect(), 0);
    reset_proxies(&mut index, &model.proxies.values().cloned().collect::<Vec<_>>(), 0);
    index.reset_pods(None, model.pods.values().cloned().collect(), 0);
    index.reset_namespaces(all_namespaces(model), 0);
    for object in model.services.values() {
        index.apply(object);
    }
    model.gates.values().for_each(|gate| index.apply_object(gate, 0));
    read_secrets(model, &mut index);
    for (node, sequence) in &model.health {
        index.set_health(&(*node).into(), Some(&mk_health(node, *sequence)));
    }
    index
}

fn all(index: &Index, node: &str) -> Held {
    let mut held = Held::new();
    take_in(&mut held, &index.all_of(&node.into()));
    held
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let (mut index, mut fleet, mut model) = (mk_index(), Fleet::default(), Model::default());
    for now in 0..STEPS as i64 {
        step(&mut dice, &mut model, &mut index, 100 * now);
        if dice.roll(3) > 0 {
            index.tick(100 * now);
        }
        if dice.roll(4) == 0 {
            fleet.follow(&mut index);
            fleet.assert_complete(&index, &NODES);
        }
        if now % 100 == 0 {
            index.tick(100 * now + 10 * GRACE_MS);
            fleet.follow(&mut index);
            let fresh = from_scratch(&model);
            for node in NODES {
                assert_eq!(all(&index, node), all(&fresh, node), "seed {seed}, step {now}, node {node}");
            }
        }
    }
}

#[test]
fn changes_add_up_to_what_an_agent_that_connects_is_sent() {
    for seed in [1, 7, 42, 4711] {
        run(seed);
    }
}

#[test]
fn reset_to_a_new_state_equals_a_start_from_it() {
    let mut dice = Dice(99);
    let (mut index, mut fleet, mut old) = (mk_index(), Fleet::default(), Model::default());
    let (mut other, mut new) = (mk_index(), Model::default());
    for _ in 0..300 {
        step(&mut dice, &mut old, &mut index, 0);
        step(&mut dice, &mut new, &mut other, 0);
    }
    fleet.follow(&mut index);
    index.keep_objects(&KIND, None, &new.services.keys().map(|name| key(name)).collect(), 0);
    for object in new.services.values() {
        index.apply(object);
    }
    index.keep_objects(&GATE, None, &new.gates.keys().map(|name| thing_key(&GATE, name)).collect(), 0);
    new.gates.values().for_each(|gate| index.apply_object(gate, 0));
    read_secrets(&new, &mut index);
    index.reset_pods(None, new.pods.values().cloned().collect(), 0);
    reset_proxies(&mut index, &new.proxies.values().cloned().collect::<Vec<_>>(), 0);
    index.reset_nodes(new.nodes.iter().map(|(n, l)| ((*n).into(), l.clone())).collect(), 0);
    index.reset_namespaces(all_namespaces(&new), 0);
    for node in NODES {
        let health = new.health.get(node).map(|sequence| mk_health(node, *sequence));
        index.set_health(&node.into(), health.as_ref());
    }
    index.tick(10 * GRACE_MS);
    fleet.follow(&mut index);
    let fresh = from_scratch(&new);
    for node in NODES {
        assert_eq!(fleet.held.get(node).cloned().unwrap_or_default(), all(&fresh, node), "node {node}");
    }
}
