//! Requests for objects of API C: [`api`], [`patch`] and [`patch_status`].

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use portreeve_api::refs::ObjectRef;
use serde_json::Value;

use super::failure::Failure;
use crate::kinds;
use crate::lease::by;

/// Timeout of a request to the API server.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How often a write is tried while other programs change the object.
pub const ATTEMPTS: usize = 10;

/// Returns the API of an object's kind in its namespace.
///
/// # Errors
/// Returns an error if the kind has no row, which would be a bug.
pub fn api(client: &Client, key: &ObjectRef) -> Result<Api<DynamicObject>, Failure> {
    let row = kinds::row(key.kind).ok_or_else(|| Failure::Missing(format!("{} has no row", key.title())))?;
    Ok(Api::namespaced_with(client.clone(), &key.namespace, &(row.resource)()))
}

/// Waits for a request, for a limited time.
///
/// # Errors
/// Returns the API server's error, or an error if it doesn't answer in time.
pub async fn limited<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    Ok(by(Instant::now() + TIMEOUT, request).await?)
}

/// Patches an object. Returns whether the patch was stored: the object may be gone, or was changed by another program.
///
/// # Errors
/// Returns any other error of the API server.
pub async fn patch(client: &Client, key: &ObjectRef, patch: &Value) -> Result<bool, Failure> {
    stored(limited(api(client, key)?.patch(&key.name, &params(), &Patch::Merge(patch))).await)
}

/// Patches an object's status, as [`patch`] does.
///
/// # Errors
/// As [`patch`].
pub async fn patch_status(client: &Client, key: &ObjectRef, patch: &Value) -> Result<bool, Failure> {
    stored(limited(api(client, key)?.patch_status(&key.name, &params(), &Patch::Merge(patch))).await)
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some("portreeve-allocator".into()), ..PatchParams::default() }
}

fn stored(answer: Result<DynamicObject, Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(_) => Ok(true),
        Err(Failure::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error),
    }
}
