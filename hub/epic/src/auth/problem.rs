//! Why a line of an htpasswd file isn't used: [`Problem`].

use std::fmt;

use super::credentials::MAX_USER;

/// The highest cost of a hash that is taken. Each step doubles the time; 14 takes about a second.
pub const MAX_COST: u32 = 14;

/// A line that is left out. It never holds the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The number of the line, from 1.
    pub line: usize,
    /// The user's name. `None` if the line has none, or if it looks like a hash.
    pub user: Option<String>,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a line of an htpasswd file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The line has no colon.
    #[error("it has no colon: write USER:HASH, as `htpasswd -B` does")]
    Colon,
    /// The user's name is empty, longer than [`MAX_USER`](super::MAX_USER) bytes, or has control characters.
    #[error("its user must have 1 to {MAX_USER} bytes without control characters")]
    User,
    /// The hash isn't bcrypt, or is damaged.
    #[error("its hash isn't bcrypt: hash the password again with `htpasswd -B`")]
    Hash,
    /// The hash's cost isn't 4 to [`MAX_COST`](super::MAX_COST).
    #[error(
        "its hash has cost {0}, 4 to {MAX_COST} are allowed: hash the password again with `htpasswd -B -C 10`"
    )]
    Cost(u32),
    /// An earlier line has the same user.
    #[error("an earlier line has the same user: remove one of them")]
    Repeated,
    /// The file has more than [`MAX_USERS`](super::MAX_USERS) users.
    #[error("the file has too many users: spread them over several Secrets")]
    TooMany,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "line {} (user {user:?}) is not used: {}", self.line, self.why),
            None => write!(f, "line {} is not used: {}", self.line, self.why),
        }
    }
}

impl std::error::Error for Problem {}
