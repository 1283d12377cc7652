//! Random changes: what is planned for the changed resources alone is what a plan for all would be.

use super::*;
use crate::making::{Ground, remake};
use crate::samples::*;
use crate::wanted::{Good, Refusals};
use serde_json::json;

/// Number of changes.
const CHANGES: usize = 3000;

/// A small generator of numbers, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Changes a random resource. Returns its key.
fn change(dice: &mut Dice, desired: &mut Desired) -> Key {
    let number = dice.roll(4);
    let cluster = format!("c{}", dice.roll(5));
    let remove = dice.roll(4) == 0;
    match dice.roll(3) {
        0 if remove => drop(desired.clusters.remove(cluster.as_str())),
        0 => {
            let addresses = &["10.0.0.1", "10.0.0.2", "a-name"][..dice.roll(4) as usize];
            put_cluster(desired, &cluster, 9 + dice.roll(2) as u16, addresses);
        }
        1 => {
            let name = format!("l{number}");
            let rules = (0..dice.roll(4)).map(|_| mk_rule(&format!("c{}", dice.roll(5)))).collect();
            match remove {
                true => drop(desired.listeners.remove(name.as_str())),
                false => put_listener(desired, &name, mk_listener(5 + dice.roll(4) as u16, rules)),
            }
            return Key::new(Kind::Listener, name);
        }
        _ => {
            let name = format!("r{number}");
            match remove {
                true => drop(desired.insertions.remove(name.as_str())),
                false => put_insertion(desired, &name, dice.roll(3) as u32, mk_rule(&cluster)),
            }
            return Key::new(Kind::Rule, name);
        }
    }
    Key::new(Kind::Cluster, cluster)
}

/// Plans for the resources in `dirty`, and executes that, until there is nothing to do.
fn settle(desired: &Desired, wanted: &mut Wanted, actual: &mut Actual, mut dirty: BTreeSet<Key>) {
    let (refusals, good, sessions) = (Refusals::new(), Good::new(), Sessions::default());
    for _ in 0..6 {
        remake(wanted, &mut dirty, Ground { desired, actual, refusals: &refusals, good: &good });
        let apart = BTreeSet::new();
        let steps = plan(&dirty, Picture { desired, wanted, actual, sessions: &sessions, apart: &apart });
        if steps.is_empty() {
            return;
        }
        for Step { action, .. } in steps {
            assert!(actual.is_safe(&action), "{action:?}");
            if let Action::ReadList { listener } = &action {
                let list = format!("{listener}-RuleList-1");
                let spec = json!({"protocol": "UDP", "port": port(actual, listener)});
                actual.read_list(json!({"name": listener, "spec": spec, "rules": list})).unwrap();
            }
            actual.apply(&action);
        }
    }
    panic!("never settles");
}

fn port(actual: &Actual, listener: &str) -> u64 {
    match actual.listeners[listener].slot {
        Some(crate::slot::Slot::Udp(port)) => port,
        _ => panic!("{listener}"),
    }
}

#[test]
fn plan_for_changed_resources_is_the_plan_for_all() {
    let (mut dice, mut desired) = (Dice(0x9e37_79b9_7f4a_7c15), Desired::default());
    let (mut wanted, mut actual) = (Wanted::default(), mk_own());
    for _ in 0..CHANGES {
        let keys = (0..=dice.roll(3)).map(|_| change(&mut dice, &mut desired)).collect();
        settle(&desired, &mut wanted, &mut actual, keys);
        let whole = mk_wanted(&desired, &actual, &Refusals::new());
        assert_eq!(wanted, whole);
        assert_eq!(mk_plan(&desired, &whole, &actual, &Sessions::default()), []);
        let index = actual.clone();
        actual.reindex();
        assert_eq!(actual, index);
    }
}
