//! After a crash at any point, every key has one of the written contents, and confirmed changes are there.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::commit::{Change, Scribe, commit};
use super::super::load::load;
use super::forgetful::Forgetful;
use super::*;

/// Number of crashes to try.
const SEEDS: u64 = 1000;
/// Number of successive crashes on one disk.
const LIVES: usize = 3;
/// Number of keys.
const KEYS: u32 = 12;

/// The contents that a key may have after a crash.
#[derive(Default)]
struct Expected {
    /// Contents since the last confirmed one, which is included; `None` if the key may be absent.
    possible: BTreeMap<Key, BTreeSet<Option<Vec<u8>>>>,
}

// === impl Expected ===

impl Expected {
    fn wrote(&mut self, changes: &[Change]) {
        for (key, content) in changes {
            let absent = || BTreeSet::from([None]);
            self.possible.entry(key.clone()).or_insert_with(absent).insert(content.clone());
        }
    }

    fn confirmed(&mut self, changes: &[Change]) {
        for (key, content) in changes {
            self.possible.insert(key.clone(), BTreeSet::from([content.clone()]));
        }
    }

    fn check(&mut self, found: &[(Key, Vec<u8>)], seed: u64) {
        let found: BTreeMap<&Key, &Vec<u8>> = found.iter().map(|(key, content)| (key, content)).collect();
        for key in found.keys() {
            assert!(self.possible.contains_key(*key), "seed {seed}: {key:?} was never written");
        }
        for (key, possible) in &mut self.possible {
            let there = found.get(key).map(|content| (*content).clone());
            assert!(possible.contains(&there), "seed {seed}: {key:?} is {there:?}, not of {possible:?}");
            *possible = BTreeSet::from([there]);
        }
    }
}

/// Returns random changes of some keys, including deletions.
fn mk_changes(random: &mut StdRng) -> Vec<Change> {
    let mut changes = BTreeMap::new();
    for _ in 0..random.random_range(1..=KEYS) {
        let key = plan(&format!("A/ns/{}", random.random_range(0..KEYS)));
        let length = random.random_range(0..200);
        let content = random.random_bool(0.8).then(|| vec![random.random(); length]);
        changes.insert(key, content);
    }
    changes.into_iter().collect()
}

fn write_until_crash(
    disk: &mut Forgetful,
    scribe: &mut Scribe,
    (random, expected): (&mut StdRng, &mut Expected),
) {
    loop {
        let changes = mk_changes(random);
        expected.wrote(&changes);
        if commit(disk, scribe, changes.clone()).is_err() {
            return;
        }
        expected.confirmed(&changes);
    }
}

#[test]
fn after_any_crash_every_key_has_a_content_that_was_written_and_what_was_confirmed_is_there() {
    let (mut crashes, mut torn) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut disk, mut expected) = (Forgetful::new(seed), Expected::default());
        for life in 0..LIVES {
            let mut scribe = Scribe::new(life as u64);
            disk.crash_after(random.random_range(0..120));
            write_until_crash(&mut disk, &mut scribe, (&mut random, &mut expected));
            crashes += 1;
            disk = disk.restart();
            let found = load(&mut disk, Path::new("state"));
            torn += found.problems.len();
            expected.check(&found.records, seed);
        }
    }
    assert_eq!(crashes, SEEDS * LIVES as u64);
    assert_eq!(torn, 0, "a file is renamed only once its content lasts");
}

#[test]
fn crash_while_files_are_put_aside_costs_nothing_else() {
    for seed in 0..200 {
        let mut disk = Forgetful::new(seed);
        let changes: Vec<Change> = (0..4).map(|i| (plan(&format!("A/ns/{i}")), Some(vec![i; 9]))).collect();
        commit(&mut disk, &mut Scribe::new(1), changes.clone()).unwrap();
        let broken = changes[0].0.file();
        disk.remove(&broken).unwrap();
        disk.create(&broken, b"prstate\nnot much").unwrap();
        disk.sync(std::slice::from_ref(&broken)).unwrap();
        disk.sync_names().unwrap();
        disk.crash_after(StdRng::seed_from_u64(seed).random_range(5..9));
        load(&mut disk, Path::new("state"));
        let mut disk = disk.restart();
        let found = load(&mut disk, Path::new("state"));
        assert_eq!(found.records.len(), 3, "seed {seed}");
    }
}

#[test]
fn word_that_all_is_there_never_lasts_without_the_rest_nor_a_resource_without_its_watermark() {
    for seed in 0..SEEDS {
        let mut disk = Forgetful::new(seed);
        let mut changes: Vec<Change> =
            (0..5).map(|i| (plan(&format!("A/ns/{i}")), Some(vec![i; 9]))).collect();
        changes.extend([(Key::Complete, Some(Vec::new())), (Key::Watermark, Some(b"7".to_vec()))]);
        disk.crash_after(StdRng::seed_from_u64(seed).random_range(0..24));
        let done = commit(&mut disk, &mut Scribe::new(1), changes).is_ok();
        let mut disk = disk.restart();
        let found: BTreeSet<Key> =
            load(&mut disk, Path::new("state")).records.into_iter().map(|(key, _)| key).collect();
        assert!(!done || found.len() == 7, "seed {seed}: {found:?}");
        assert!(!found.contains(&Key::Complete) || found.len() == 7, "seed {seed}: {found:?}");
        assert!(found.is_empty() || found.contains(&Key::Watermark), "seed {seed}: {found:?}");
    }
}
