//! The accounts that a Secret's users serve: [`Scope`] (seed C.6 "Users").

use portreeve_api::c::names::{EPIC, account_of_namespace};

use crate::path::Target;

/// The accounts that the users of a Secret may use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All accounts: the Secret is in namespace `epic`.
    All,
    /// This account: the Secret is in namespace `epic-<account>`.
    Account(String),
}

// === impl Scope ===

impl Scope {
    /// Returns the scope of a Secret's namespace; `None` for namespaces whose Secrets serve nobody.
    pub fn of_namespace(namespace: &str) -> Option<Self> {
        match namespace {
            EPIC => Some(Self::All),
            _ => account_of_namespace(namespace).map(|account| Self::Account(account.to_owned())),
        }
    }

    /// Returns whether the users may use a target. The health check is for everyone.
    pub fn allows(&self, target: &Target) -> bool {
        match (self, target.account()) {
            (Self::All, _) | (_, None) => true,
            (Self::Account(own), Some(account)) => own == account,
        }
    }
}
