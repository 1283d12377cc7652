//! The users of a Secret's key `auth`, an htpasswd file with bcrypt hashes: [`Htpasswd`] (seed C.5).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use bcrypt::{HashParts, Version};

use super::credentials::{Credentials, MAX_USER};
use super::problem::{MAX_COST, Problem, Why};

/// Maximum number of users of a file.
pub const MAX_USERS: usize = 10_000;

/// The lowest cost that bcrypt has.
const MIN_COST: u32 = 4;

/// The cost that unknown users are checked with if a file has no users; it is htpasswd's default for `-C`.
const DEFAULT_COST: u32 = 5;

/// A hash without its version and cost. No known password has it.
const NOBODY: &str = "abcdefghijklmnopqrstuu0123456789ABCDEFGHIJKLMNOPQRSTO";

/// The users of a file and their bcrypt hashes. [`fmt::Debug`] shows the users alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Htpasswd {
    hashes: BTreeMap<String, String>,
    /// The highest cost of a hash; 0 without users.
    cost: u32,
}

// === impl Htpasswd ===

impl Htpasswd {
    /// Reads a file: lines `user:hash`, and comments after `#`. Returns the users and the lines that are not used.
    ///
    /// Only bcrypt hashes are taken (`$2a$`, `$2b$`, `$2y$`), with a cost of at most [`MAX_COST`]. If a user has several
    /// lines, the first one counts, like in Apache.
    pub fn parse(text: &str) -> (Self, Vec<Problem>) {
        let mut file = Self::default();
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let given = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let problems = given.filter_map(|(number, line)| {
            let why = file.add(line).err()?;
            Some(Problem { line: number, user: shown_user(line), why })
        });
        let problems = problems.collect();
        (file, problems)
    }

    fn add(&mut self, line: &str) -> Result<(), Why> {
        let (user, hash) = line.split_once(':').ok_or(Why::Colon)?;
        if !is_user(user) {
            return Err(Why::User);
        }
        let cost = cost(hash)?;
        let full = self.hashes.len() >= MAX_USERS;
        match self.hashes.entry(user.to_owned()) {
            Entry::Occupied(_) => return Err(Why::Repeated),
            Entry::Vacant(_) if full => return Err(Why::TooMany),
            Entry::Vacant(entry) => entry.insert(hash.to_owned()),
        };
        self.cost = self.cost.max(cost);
        Ok(())
    }

    /// Returns whether the file has this user and the password is right.
    ///
    /// It takes as long as bcrypt does: at cost 10 about 50 ms of processor time, at [`MAX_COST`] 16 times as much. So
    /// call it on a thread that may block, limit the rate of calls ([`rate`](crate::rate)) and keep results
    /// ([`cache`](crate::cache)). For an unknown user a hash of the file's highest cost is computed too, so the time
    /// doesn't tell whether a user exists, unless the costs in the file differ.
    pub fn verify(&self, credentials: &Credentials) -> bool {
        let cost = if self.cost == 0 { DEFAULT_COST } else { self.cost };
        let nobody = || format!("${}${cost:02}${NOBODY}", Version::TwoB);
        let known = self.hashes.get(credentials.user());
        let hash = known.cloned().unwrap_or_else(nobody);
        let matches = bcrypt::verify(credentials.password(), &hash).unwrap_or(false);
        matches && known.is_some()
    }

    /// Returns whether the file has this user. A server with several files verifies only those that have the user, and
    /// any one if none has.
    pub fn has(&self, user: &str) -> bool {
        self.hashes.contains_key(user)
    }

    /// Returns the number of users.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Returns whether the file has no users.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.hashes.keys()).finish()
    }
}

/// Returns the cost of a hash.
fn cost(hash: &str) -> Result<u32, Why> {
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| hash.starts_with(version));
    let parts: HashParts = hash.parse().map_err(|_| Why::Hash)?;
    match parts.get_cost() {
        _ if !known => Err(Why::Hash),
        cost @ MIN_COST..=MAX_COST => Ok(cost),
        cost => Err(Why::Cost(cost)),
    }
}

fn is_user(user: &str) -> bool {
    (1..=MAX_USER).contains(&user.len()) && !user.contains(char::is_control)
}

/// Returns the user of a line; `None` if the line could begin with a hash.
fn shown_user(line: &str) -> Option<String> {
    let (user, _) = line.split_once(':')?;
    (is_user(user) && !user.starts_with('$')).then(|| user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_COST, HashParts, Htpasswd, NOBODY, cost};

    #[test]
    fn hash_of_unknown_users_can_be_computed() {
        let hash = format!("$2b$05${NOBODY}");
        let parts: HashParts = hash.parse().unwrap();
        assert_eq!((parts.get_cost(), hash.len()), (DEFAULT_COST, 60));
        assert_eq!(cost(&hash).unwrap(), DEFAULT_COST);
        assert!(!bcrypt::verify("", &hash).unwrap());
    }

    #[test]
    fn unknown_users_cost_as_much_as_the_most_expensive_one() {
        let lines: Vec<String> =
            [4, 7, 6].iter().map(|cost| format!("u{cost}:$2b${cost:02}${NOBODY}")).collect();
        assert_eq!(Htpasswd::parse(&lines.join("\n")).0.cost, 7);
        assert_eq!(Htpasswd::parse("").0.cost, 0);
    }
}
