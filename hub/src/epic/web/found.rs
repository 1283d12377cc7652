//! What the web service reads: Accounts, groups, and load balancers.

use std::time::Duration;

use kube::core::DynamicObject;
use portreeve_api::c::load_balancer::{self, LoadBalancer};
use portreeve_api::c::names::{EPIC, namespace_of_account};
use portreeve_api::c::{account, lb_service_group, service_group};
use portreeve_api::kind::Kind;
use portreeve_api::refs::ObjectRef;
use portreeve_epic::answer;
use portreeve_epic::path::Target;
use serde_json::Value;

use super::{Outcome, Web};
use crate::epic::failure::Failure;
use crate::epic::objects::{api, limited};

/// How long the service waits before it looks for a missing object again (C.5).
const AGAIN: Duration = Duration::from_secs(1);

// === impl Web ===

impl Web {
    /// Answers with an Account: the one in its namespace, or else in `epic`.
    pub(super) async fn account(&self, target: &Target, account: &str) -> Outcome {
        let found = self.in_either(&[&account::KIND], account, account).await?;
        let missing = || answer::not_found(format!("there is no account {account}"));
        Ok(found.map_or_else(missing, |object| answer::account(target, object)))
    }

    /// Answers with a group of either kind: the one in the account's namespace, or else in `epic`.
    pub(super) async fn group(&self, target: &Target, (account, group): (&str, &str)) -> Outcome {
        let kinds = [&service_group::KIND, &lb_service_group::KIND];
        let found = self.in_either(&kinds, account, group).await?;
        let missing = || answer::not_found(format!("account {account} has no group {group}"));
        Ok(found.map_or_else(missing, |object| answer::group(target, object)))
    }

    /// Finds an object of one of these kinds in an account's namespace, or else in `epic`.
    async fn in_either(
        &self,
        kinds: &[&'static Kind],
        account: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        let own = namespace_of_account(account);
        for namespace in [own.as_str(), EPIC] {
            for kind in kinds {
                let key = ObjectRef::namespaced(kind, namespace, name);
                if let Some(found) = self.get(&key).await? {
                    return Ok(Some(value(&found)?));
                }
            }
        }
        Ok(None)
    }

    /// Finds a load balancer. A missing one is looked for again after a moment.
    pub(super) async fn load_balancer(&self, of: (&str, &str)) -> Result<Option<DynamicObject>, Failure> {
        self.get_again(&key(of)).await
    }

    /// Reads an object. A missing one is looked for again after a moment.
    pub(super) async fn get_again(&self, key: &ObjectRef) -> Result<Option<DynamicObject>, Failure> {
        if let Some(found) = self.get(key).await? {
            return Ok(Some(found));
        }
        tokio::time::sleep(AGAIN).await;
        self.get(key).await
    }

    /// Reads an object. One that is being deleted counts as gone.
    pub(super) async fn get(&self, key: &ObjectRef) -> Result<Option<DynamicObject>, Failure> {
        let found = limited(api(&self.client, key)?.get_opt(&key.name)).await?;
        Ok(found.filter(|found| found.metadata.deletion_timestamp.is_none()))
    }
}

/// Returns the reference to an account's load balancer.
pub(super) fn key((account, service): (&str, &str)) -> ObjectRef {
    ObjectRef::namespaced(&load_balancer::KIND, namespace_of_account(account), service)
}

/// Parses a load balancer.
///
/// # Errors
/// Returns an error that names the field which can't be read.
pub(super) fn parsed(object: &DynamicObject) -> Result<LoadBalancer, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::Missing(format!("the stored load balancer can't be read: {error}"))
    };
    let (parsed, _) = LoadBalancer::parse(value(object)?).map_err(|error| unreadable(&error))?;
    Ok(parsed)
}

/// Returns an object as JSON.
///
/// # Errors
/// No error is expected: it was read as JSON.
pub(super) fn value(object: &DynamicObject) -> Result<Value, Failure> {
    serde_json::to_value(object).map_err(|error| Failure::Missing(error.to_string()))
}
