//! A disk in memory that crashes on demand, and then loses or truncates unsynced data.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::disk::Disk;

/// A file's number.
type Inode = usize;

/// One change of the directory: names with their new files.
type Step = Vec<(String, Option<Inode>)>;

/// The disk's state.
#[derive(Clone)]
pub struct Forgetful {
    /// File contents, and whether they were synced.
    files: Vec<(Vec<u8>, bool)>,
    names: BTreeMap<String, Inode>,
    /// The synced names.
    lasting: BTreeMap<String, Inode>,
    /// Changes of names since the last sync.
    steps: Vec<Step>,
    /// Number of operations until the crash.
    left: usize,
    random: StdRng,
}

// === impl Forgetful ===

impl Forgetful {
    /// Returns an empty disk that does not crash until [`Self::crash_after`] is called.
    pub fn new(seed: u64) -> Self {
        Self {
            files: Vec::new(),
            names: BTreeMap::new(),
            lasting: BTreeMap::new(),
            steps: Vec::new(),
            left: usize::MAX,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Crashes after this number of further operations. The last operation may be done in part.
    pub fn crash_after(&mut self, operations: usize) {
        self.left = operations;
    }

    /// Returns the disk after a crash and a restart. Each unsynced change is independently there, truncated,
    /// or lost.
    pub fn restart(mut self) -> Self {
        let mut names = self.lasting.clone();
        for step in std::mem::take(&mut self.steps) {
            if self.random.random_bool(0.5) {
                put(&mut names, &step);
            }
        }
        let kept: BTreeSet<Inode> = names.values().copied().collect();
        for inode in kept {
            let (bytes, synced) = &mut self.files[inode];
            if !*synced {
                tear(bytes, &mut self.random);
            }
            *synced = true;
        }
        Self { lasting: names.clone(), names, left: usize::MAX, ..self }
    }

    fn step(&mut self, step: Step) {
        put(&mut self.names, &step);
        self.steps.push(step);
    }

    /// Counts one operation. Returns an error once the disk has crashed.
    fn operate(&mut self) -> io::Result<()> {
        if self.left == 0 {
            return Err(io::Error::other("crashed"));
        }
        self.left -= 1;
        Ok(())
    }

    fn inode(&self, name: &str) -> io::Result<Inode> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn put(names: &mut BTreeMap<String, Inode>, step: &Step) {
    for (name, inode) in step {
        match inode {
            Some(inode) => drop(names.insert(name.clone(), *inode)),
            None => drop(names.remove(name)),
        }
    }
}

/// Truncates a file, fills its end with zeros, empties it, or leaves it.
fn tear(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let at = random.random_range(0..=bytes.len());
    match random.random_range(0..4) {
        0 => bytes.clear(),
        1 => bytes.truncate(at),
        2 => bytes[at..].fill(0),
        _ => {}
    }
}

impl Disk for Forgetful {
    fn list(&mut self) -> io::Result<Vec<String>> {
        self.operate()?;
        Ok(self.names.keys().cloned().collect())
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        self.operate()?;
        Ok(self.files[self.inode(name)?].0.clone())
    }

    fn create(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.operate()?;
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.files.push((bytes.to_vec(), false));
        self.step(vec![(name.to_owned(), Some(self.files.len() - 1))]);
        Ok(())
    }

    fn sync(&mut self, names: &[String]) -> io::Result<()> {
        for name in names {
            self.operate()?;
            let inode = self.inode(name)?;
            self.files[inode].1 = true;
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.operate()?;
        let inode = self.inode(from)?;
        self.step(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))]);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.operate()?;
        if self.names.contains_key(name) {
            self.step(vec![(name.to_owned(), None)]);
        }
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.operate()?;
        self.steps.clear();
        self.lasting = self.names.clone();
        Ok(())
    }
}
