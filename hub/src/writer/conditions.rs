//! One object's write: its conditions, and its annotation once it is applied.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use portreeve_api::conditions::{self, ConditionType, Reason, find};
use portreeve_api::refs::ObjectRef;
use serde_json::json;

use super::stored::Stored;
use super::{MANAGER, Outcome, Writer, api};
use crate::row::Row;
use crate::status::ObjectStatus;
use crate::subject::Subject;
use crate::{events, kinds, subresource};

/// How often the conditions are merged into an object that other clients keep changing.
const ATTEMPTS: usize = 3;

// === impl Writer ===

impl Writer {
    /// Writes the conditions and the annotation of an object that differ. `young`: agents may not have found this hub yet.
    pub(super) async fn write(
        &self,
        key: &ObjectRef,
        status: &ObjectStatus,
        young: bool,
    ) -> kube::Result<Outcome> {
        let (Some(subject), Some(row)) = (self.feed.subject(key), kinds::row(key.kind)) else {
            return Ok(Outcome::Passed);
        };
        if let Some(revision) = self.untouched.get(key) {
            let stored = Stored::untouched(revision);
            match self.write_both((&subject, row), &stored, status, young).await? {
                // The object has changed since.
                Outcome::Raced => {}
                outcome => return Ok(outcome),
            }
        }
        for _ in 0..ATTEMPTS {
            let found = api(&self.client, key, &(row.resource)()).get_opt(&key.name).await?;
            // The object is gone, has a new generation, or was recreated. A watch event will follow.
            let Some(stored) = found.and_then(|found| Stored::of(found, &subject.verdict)) else {
                return Ok(Outcome::Passed);
            };
            match self.write_both((&subject, row), &stored, status, young).await? {
                Outcome::Raced => {}
                outcome => return Ok(outcome),
            }
        }
        Ok(Outcome::Raced)
    }

    /// Writes what differs from the stored object.
    async fn write_both(
        &self,
        (subject, row): (&Subject, &'static Row),
        stored: &Stored,
        status: &ObjectStatus,
        young: bool,
    ) -> kube::Result<Outcome> {
        match self.write_conditions((subject, row), stored, status, young).await? {
            Outcome::Stands => self.annotate(&subject.verdict, stored, status.applied, row).await,
            outcome @ Outcome::Told(_) => {
                let annotated = self.annotate(&subject.verdict, stored, status.applied, row).await?;
                Ok(if matches!(annotated, Outcome::Forbidden(_)) { annotated } else { outcome })
            }
            outcome => Ok(outcome),
        }
    }

    /// Writes an object's conditions and the other fields of its status if they differ from those that it has.
    async fn write_conditions(
        &self,
        (subject, row): (&Subject, &'static Row),
        stored: &Stored,
        status: &ObjectStatus,
        young: bool,
    ) -> kube::Result<Outcome> {
        let (verdict, resource) = (&subject.verdict, (row.resource)());
        let key = &verdict.key;
        let told = self.statusless.told(key, verdict.generation);
        let before = told.clone().unwrap_or_else(|| stored.conditions.clone());
        if young && is_unheard(status) && is_programmed(&before, verdict.generation) {
            return Ok(Outcome::Early);
        }
        let (mut after, now) = (before.clone(), Timestamp::now());
        let mut differs = false;
        for condition in &status.conditions {
            differs |= conditions::set(&mut after, condition.clone(), now);
        }
        if !differs && (told.is_some() || stored.has(&status.fields)) {
            return Ok(Outcome::Stands);
        }
        if told.is_some() {
            events::publish_all(&self.client, subject, &self.identity, &before, &after).await;
            return Ok(Outcome::Told(after));
        }
        // With the revision, the API server refuses the patch of a newer version, whose conditions may be others.
        let mut patch = json!({
            "metadata": {"uid": verdict.uid, "resourceVersion": stored.revision},
            "status": {"conditions": after},
        });
        for (name, value) in &status.fields {
            patch["status"][*name] = value.clone();
        }
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        match api(&self.client, key, &resource).patch_status(&key.name, &params, &Patch::Merge(&patch)).await
        {
            Ok(_) => {
                events::publish(&self.client, subject, &self.identity, &before, &after).await;
                Ok(Outcome::Stands)
            }
            // The object is gone, or its kind has no status.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                match subresource::has_status(&self.client, &resource).await? {
                    true => Ok(Outcome::Passed),
                    false => Ok(Outcome::NoStatus(row)),
                }
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Outcome::Raced),
            Err(kube::Error::Api(status)) if subresource::is_refused(&status) => {
                events::publish_all(&self.client, subject, &self.identity, &[], &after).await;
                let (generation, why) = (verdict.generation, status.message);
                Ok(Outcome::Refused { generation, conditions: after, why })
            }
            Err(error) => Err(error),
        }
    }
}

fn is_programmed(stands: &[Condition], generation: i64) -> bool {
    let found = find(stands, ConditionType::Programmed);
    found.is_some_and(|one| one.status == "True" && one.observed_generation == Some(generation))
}

/// Returns whether the conditions result from missing reports.
fn is_unheard(status: &ObjectStatus) -> bool {
    let mut programmed = status.conditions.iter().filter(|one| one.type_ == ConditionType::Programmed);
    programmed.any(|one| matches!(one.reason, Reason::Pending | Reason::Unreachable))
}
