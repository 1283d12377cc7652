//! Reads the whole directory at a start. Unusable files are moved aside and reported. Entry point: [`load`].

use std::collections::BTreeSet;
use std::path::Path;

use super::disk::{Disk, TEMPORARY};
use super::key::Key;
use super::problem::Problem;
use super::record::{self, Flaw};

/// Suffix of a file that was moved aside.
const ASIDE: &str = ".bad";
/// Maximum number of files kept aside. They are for diagnosis, not an archive.
const KEPT_ASIDE: usize = 16;

/// The content of a directory.
#[derive(Debug, Default)]
pub struct Found {
    /// Key and content of every usable file.
    pub records: Vec<(Key, Vec<u8>)>,
    /// Names of the unusable files.
    pub lost: BTreeSet<String>,
    /// One problem per unusable file, and one for an unreadable directory.
    pub problems: Vec<Problem>,
}

/// Reads every file. `place` is the directory's name in messages.
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
            // The file is left over from a crash, or belongs to another agent that will retry.
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
            // The file is not one of the store's, so it is not moved.
            Err(Flaw::Foreign) => format!("{}; it is passed over, move it elsewhere", Flaw::Foreign),
            Err(flaw) => format!("{flaw}; {}", put_aside(disk, name)),
        },
    };
    found.lost.insert(name.to_owned());
    found.problems.push(Problem { file: place.join(name), text });
}

fn read(name: &str, bytes: &[u8]) -> Result<(Key, Vec<u8>), Flaw> {
    let parts = record::unseal(bytes).map_err(|flaw| match flaw {
        // After a crash, a file system may fill a file with zeros. The name shows that it is one of the
        // store's.
        Flaw::Foreign if is_ours(name) => Flaw::Corrupt,
        flaw => flaw,
    })?;
    let key = Key::read(parts.kind, parts.key).ok_or(Flaw::Unreadable)?;
    // The file is intact but has the wrong name: it is a copy.
    if key.file() != name {
        return Err(Flaw::Foreign);
    }
    Ok((key, parts.content.to_vec()))
}

/// Returns whether [`Key::file`] could have made this name.
fn is_ours(name: &str) -> bool {
    let hash = name.rsplit_once('-').map(|(_, hash)| hash);
    hash.is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Moves an unusable file aside. Returns a message about the file and the loss of its content.
fn put_aside(disk: &mut impl Disk, name: &str) -> String {
    let aside = format!("{name}{ASIDE}");
    match disk.rename(name, &aside) {
        Ok(()) => format!("put aside as {aside}, the hub or the API server will say again what was in it"),
        Err(error) => format!("it can't be put aside ({error}) and is passed over"),
    }
}
