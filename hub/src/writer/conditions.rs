//! One object's write: its conditions, and its annotation once it is applied.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use portreeve_api::conditions::{self, ConditionType, Reason, find};
use portreeve_api::refs::ObjectRef;
use serde_json::json;

use super::{MANAGER, Outcome, Writer, api};
use crate::raw::Raw;
use crate::row::Row;
use crate::status::ObjectStatus;
use crate::subject::Subject;
use crate::{events, kinds, subresource};

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
        let (verdict, resource) = (&subject.verdict, (row.resource)());
        let object = api(&self.client, key, &resource).get_opt(&key.name).await?;
        let Some(object) = object else { return Ok(Outcome::Passed) };
        // The object has a new generation, or was recreated. A watch event will follow.
        let other = object.metadata.uid.as_deref() != Some(&verdict.uid);
        if other || object.metadata.generation.unwrap_or(0) != verdict.generation {
            return Ok(Outcome::Passed);
        }
        match self.write_conditions((&subject, row), &object, status, young).await? {
            Outcome::Stands => self.annotate(key, &object, status.applied, row).await,
            outcome @ Outcome::Told(_) => {
                let annotated = self.annotate(key, &object, status.applied, row).await?;
                Ok(if matches!(annotated, Outcome::Forbidden(_)) { annotated } else { outcome })
            }
            outcome => Ok(outcome),
        }
    }

    /// Writes an object's conditions if they differ from those that it has.
    async fn write_conditions(
        &self,
        (subject, row): (&Subject, &'static Row),
        object: &Raw,
        status: &ObjectStatus,
        young: bool,
    ) -> kube::Result<Outcome> {
        let (verdict, resource) = (&subject.verdict, (row.resource)());
        let key = &verdict.key;
        let told = self.statusless.told(key, verdict.generation);
        let before = told.clone().unwrap_or_else(|| object.conditions());
        if young && is_unheard(status) && is_programmed(&before, verdict.generation) {
            return Ok(Outcome::Early);
        }
        let (mut after, now) = (before.clone(), Timestamp::now());
        let mut differs = false;
        for condition in &status.conditions {
            differs |= conditions::set(&mut after, condition.clone(), now);
        }
        if !differs {
            return Ok(Outcome::Stands);
        }
        if told.is_some() {
            events::publish_all(&self.client, subject, &self.identity, &before, &after).await;
            return Ok(Outcome::Told(after));
        }
        let mut patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"uid": verdict.uid},
            "status": {"conditions": after},
        });
        if let Some((nodes, ready)) = status.nodes {
            (patch["status"]["nodes"], patch["status"]["ready"]) = (nodes.into(), ready.into());
        }
        let params = PatchParams::apply(MANAGER).force();
        match api(&self.client, key, &resource).patch_status(&key.name, &params, &Patch::Apply(&patch)).await
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
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Outcome::Passed),
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
