//! One object's write ([`Write`]): its conditions, and its annotation once it is applied.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Patch, PatchParams};
use portreeve_api::conditions::{self, ConditionType, Reason, find};
use serde_json::{Value, json};

use super::request::{MANAGER, Outcome, api};
use super::stored::Stored;
use crate::row::Row;
use crate::status::ObjectStatus;
use crate::subject::Subject;
use crate::{events, subresource};

/// How often the conditions are merged into an object that other clients keep changing.
const ATTEMPTS: usize = 3;

/// A write of what differs in an object's status and annotation.
pub struct Write {
    /// The hub's client.
    pub client: Client,
    /// The hub's identity.
    pub identity: Arc<str>,
    /// The object.
    pub subject: Subject,
    /// Its kind.
    pub row: &'static Row,
    /// Its intended status.
    pub status: ObjectStatus,
    /// The conditions that were published as an event, for an object whose status can't be written.
    pub told: Option<Vec<Condition>>,
    /// Whether agents may not have found this hub yet.
    pub young: bool,
}

// === impl Write ===

impl Write {
    /// Writes what differs from the known version of the object. Reads the object if none is known or it has changed.
    pub async fn run(&self, known: Option<Stored>) -> kube::Result<Outcome> {
        if let Some(known) = known {
            match self.write_both(known).await? {
                // The object has changed since, or too little of it is known.
                Outcome::Raced => {}
                outcome => return Ok(outcome),
            }
        }
        let key = &self.subject.verdict.key;
        for _ in 0..ATTEMPTS {
            let found = api(&self.client, key, &(self.row.resource)()).get_opt(&key.name).await?;
            let stored = found.and_then(Stored::of).filter(|stored| stored.is(&self.subject.verdict));
            // The object is gone, has a new generation, or was recreated. A watch event will follow.
            let Some(stored) = stored else { return Ok(Outcome::Passed) };
            match self.write_both(stored).await? {
                Outcome::Raced => {}
                outcome => return Ok(outcome),
            }
        }
        Ok(Outcome::Raced)
    }

    /// Writes what differs from the stored object.
    async fn write_both(&self, stored: Stored) -> kube::Result<Outcome> {
        match self.write_conditions(&stored).await? {
            Outcome::Stands(stored) => self.annotate(stored).await,
            outcome @ Outcome::Told(_) => {
                let annotated = self.annotate(stored).await?;
                Ok(if matches!(annotated, Outcome::Forbidden(_)) { annotated } else { outcome })
            }
            outcome => Ok(outcome),
        }
    }

    /// Writes an object's conditions and the other fields of its status if they differ from those that it has.
    async fn write_conditions(&self, stored: &Stored) -> kube::Result<Outcome> {
        let Self { client, identity, subject, status, told, .. } = self;
        let verdict = &subject.verdict;
        let before = told.as_ref().unwrap_or(&stored.conditions);
        if self.young && takes_back(status, before, verdict.generation) {
            return Ok(Outcome::Early);
        }
        let (mut after, now) = (before.clone(), Timestamp::now());
        let mut differs = false;
        for condition in &status.conditions {
            differs |= conditions::set(&mut after, condition.clone(), now);
        }
        match (told, stored.has(&status.fields)) {
            (Some(_), _) if !differs => return Ok(Outcome::Stands(stored.clone())),
            (Some(_), _) => {
                events::publish_all(client, subject, identity, before, &after).await;
                return Ok(Outcome::Told(after));
            }
            (None, Some(true)) if !differs => return Ok(Outcome::Stands(stored.clone())),
            (None, None) if !differs => return Ok(Outcome::Raced),
            (None, _) => {}
        }
        let (key, resource) = (&verdict.key, (self.row.resource)());
        let (patch, params) = (Patch::Merge(self.patch(stored, &after)), params());
        match api(client, key, &resource).patch_status(&key.name, &params, &patch).await {
            Ok(written) => {
                events::publish(client, subject, identity, before, &after).await;
                Ok(Stored::of(written).map_or(Outcome::Passed, Outcome::Stands))
            }
            // The object is gone, or its kind has no status.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                match subresource::has_status(client, &resource).await? {
                    true => Ok(Outcome::Passed),
                    false => Ok(Outcome::NoStatus(self.row)),
                }
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Outcome::Raced),
            Err(kube::Error::Api(status)) if subresource::is_refused(&status) => {
                events::publish_all(client, subject, identity, &[], &after).await;
                let (generation, why) = (verdict.generation, status.message);
                Ok(Outcome::Refused { generation, conditions: after, why })
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the patch of the status. With the revision, the API server refuses the patch of a newer version, whose
    /// conditions may be others.
    fn patch(&self, stored: &Stored, conditions: &[Condition]) -> Value {
        let mut patch = json!({
            "metadata": {"uid": self.subject.verdict.uid, "resourceVersion": stored.revision.to_string()},
            "status": {"conditions": conditions},
        });
        for (name, value) in &self.status.fields {
            patch["status"][*name] = value.clone();
        }
        patch
    }
}

/// Returns the parameters of the hub's patches.
pub(super) fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}

/// Returns whether the status would replace a `Programmed` condition of this generation, whatever it says, for missing reports
/// alone.
fn takes_back(status: &ObjectStatus, stands: &[Condition], generation: i64) -> bool {
    let mut programmed = status.conditions.iter().filter(|one| one.type_ == ConditionType::Programmed);
    let is_unheard = programmed.any(|one| matches!(one.reason, Reason::Pending | Reason::Unreachable));
    let stood = find(stands, ConditionType::Programmed);
    is_unheard && stood.is_some_and(|one| one.observed_generation == Some(generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_programmed(reason: Reason, generation: i64) -> conditions::Verdict {
        conditions::Verdict {
            type_: ConditionType::Programmed,
            status: (reason == Reason::Programmed).into(),
            reason,
            message: String::new(),
            generation: Some(generation),
        }
    }

    #[test]
    fn new_leader_replaces_a_status_only_for_what_an_agent_reports() {
        for (stands, wanted, expected) in [
            ((Reason::Programmed, 3), Reason::Pending, true),
            ((Reason::Programmed, 3), Reason::Unreachable, true),
            ((Reason::Programmed, 3), Reason::Nacked, false),
            ((Reason::Programmed, 3), Reason::NoProxy, false),
            ((Reason::Programmed, 3), Reason::Programmed, false),
            ((Reason::Programmed, 2), Reason::Pending, false),
            ((Reason::Nacked, 3), Reason::Pending, true),
            ((Reason::Unreachable, 3), Reason::Unreachable, true),
            ((Reason::Pending, 3), Reason::Unreachable, true),
            ((Reason::Unreachable, 3), Reason::Programmed, false),
            ((Reason::Unreachable, 2), Reason::Unreachable, false),
        ] {
            let mut found = Vec::new();
            conditions::set(&mut found, mk_programmed(stands.0, stands.1), Timestamp::UNIX_EPOCH);
            let status =
                ObjectStatus { conditions: vec![mk_programmed(wanted, 3)], ..ObjectStatus::default() };
            assert_eq!(takes_back(&status, &found, 3), expected, "{stands:?} then {wanted:?}");
            assert!(!takes_back(&status, &[], 3), "nothing stands there");
        }
    }
}
