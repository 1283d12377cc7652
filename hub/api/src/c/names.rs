//! Names that EPIC's API prescribes, for example of the accounts' namespaces ([`namespace_of_account`]).

use crate::identifiers::is_dns_label;

/// The namespace of the objects that belong to no account, and the name of the only EPIC object (C2).
pub const EPIC: &str = "epic";

/// The name of the ServicePrefix whose pool serves groups that name none (C.6).
pub const DEFAULT_PREFIX: &str = "default";

/// The beginning of the names of the accounts' namespaces (C8).
const ACCOUNT_PREFIX: &str = "epic-";

/// Maximum length of an account's name, in characters: its namespace's name has at most 63 (C8).
pub const MAX_ACCOUNT: usize = 63 - ACCOUNT_PREFIX.len();

/// Returns the name of an account's namespace, `epic-<name>` (C8).
pub fn namespace_of_account(account: &str) -> String {
    format!("{ACCOUNT_PREFIX}{account}")
}

/// Returns the name of the account that a namespace belongs to; the inverse of [`namespace_of_account`]. `None` for
/// every other namespace, also for `epic` itself (C8).
pub fn account_of_namespace(namespace: &str) -> Option<&str> {
    namespace.strip_prefix(ACCOUNT_PREFIX).filter(|account| is_account(account))
}

/// Returns whether an account can have this name: with `epic-` before it, it is the name of a namespace (C8).
pub fn is_account(name: &str) -> bool {
    name.len() <= MAX_ACCOUNT && is_dns_label(name)
}
