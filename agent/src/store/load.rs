//! Reading the whole directory at a start: what can be used is used, what can't is put aside and reported. Entry
//! point: [`load`].

use std::collections::BTreeSet;
use std::path::Path;

use super::disk::{Disk, TEMPORARY};
use super::key::Key;
use super::problem::Problem;
use super::record::{self, Flaw};

/// Ends the name of a file that was put aside.
const ASIDE: &str = ".bad";
/// Files that are kept aside at most: evidence, not an archive.
const KEPT_ASIDE: usize = 16;

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Found {
    /// Key and content of every file that can be used.
    pub records: Vec<(Key, Vec<u8>)>,
    /// Names of files that were there and can't be used.
    pub lost: BTreeSet<String>,
    /// One for each file that can't be used, and for a directory that can't be read.
    pub problems: Vec<Problem>,
}

/// Reads every file; `place` is what the directory is called in messages.
pub fn load(disk: &mut impl Disk, place: &Path) -> Found {
    let mut found = Found::default();
    let mut names = match disk.list() {
        Ok(names) => names,
        Err(error) => {
            let text = format!(
                "the store can't be read: {error}; what the hub and the API server say is used, nothing is kept"
            );
            found.problems.push(Problem { file: place.to_owned(), text });
            return found;
        }
    };
    names.sort();
    let aside: Vec<&String> = names.iter().filter(|name| name.ends_with(ASIDE)).collect();
    for name in aside.into_iter().skip(KEPT_ASIDE) {
        disk.remove(name).unwrap_or_default();
    }
    for name in names.iter().filter(|name| !name.ends_with(ASIDE)) {
        if name.ends_with(TEMPORARY) {
            // Left from a crash, or another agent's that will try again.
            disk.remove(name).unwrap_or_default();
        } else {
            take(disk, place, name, &mut found);
        }
    }
    found
}

fn take(disk: &mut impl Disk, place: &Path, name: &str, found: &mut Found) {
    let text = match disk.read(name) {
        Err(error) => format!("can't be read: {error}; it is passed over"),
        Ok(bytes) => match read(name, &bytes) {
            Ok(record) => return found.records.push(record),
            // Somebody else's: not ours to move.
            Err(Flaw::Foreign) => format!("{}; it is passed over, move it elsewhere", Flaw::Foreign),
            Err(flaw) => format!("{flaw}; {}", put_aside(disk, name)),
        },
    };
    found.lost.insert(name.to_owned());
    found.problems.push(Problem { file: place.join(name), text });
}

fn read(name: &str, bytes: &[u8]) -> Result<(Key, Vec<u8>), Flaw> {
    let parts = record::unseal(bytes).map_err(|flaw| match flaw {
        // A file system may bring a file back full of zeros: by its name it is ours.
        Flaw::Foreign if is_ours(name) => Flaw::Corrupt,
        flaw => flaw,
    })?;
    let key = Key::read(parts.kind, parts.key).ok_or(Flaw::Unreadable)?;
    // A whole file under another one's name: somebody copied it.
    if key.file() != name {
        return Err(Flaw::Foreign);
    }
    Ok((key, parts.content.to_vec()))
}

/// Whether a name is one that [`Key::file`] makes.
fn is_ours(name: &str) -> bool {
    let hash = name.rsplit_once('-').map(|(_, hash)| hash);
    hash.is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Renames a file that can't be used, and says what became of it and of what was in it.
fn put_aside(disk: &mut impl Disk, name: &str) -> String {
    let aside = format!("{name}{ASIDE}");
    match disk.rename(name, &aside) {
        Ok(()) => format!("put aside as {aside}, the hub or the API server will say again what was in it"),
        Err(error) => format!("it can't be put aside ({error}) and is passed over"),
    }
}
