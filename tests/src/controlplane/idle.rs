//! Control planes that several tests of a process use in turn. Starting one costs about 2.5 s of processor time,
//! cleaning a used one a few milliseconds.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::ControlPlane;
use super::prepared::Prepared;
use super::site::Kind;
use crate::netns::Bed;

/// The control planes that no test uses at present. They end with the process.
static IDLE: Mutex<Vec<ControlPlane>> = Mutex::new(Vec::new());

// === impl ControlPlane ===

impl ControlPlane {
    /// Returns a control plane inside a bed without nodes, prepared by `prepare`, for exclusive use. It is either a new
    /// one, or one that an earlier test dropped; then everything that was stored since its preparation is deleted.
    ///
    /// A killed API server is restarted. A control plane isn't reused if its API server may be stopped, or if an object
    /// that `prepare` created was changed. All tests of a process must prepare alike.
    ///
    /// # Errors
    /// See [`ControlPlane::start`]; also returns the errors of `prepare`.
    pub async fn shared(prepare: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<(Bed, Self)> {
        while let Some(mut plane) = idle() {
            match plane.renew().await {
                Ok(bed) => return Ok((bed, plane)),
                Err(error) => plane.end(&format!("{error:#}")),
            }
        }
        let bed = Bed::new()?;
        let mut plane = Self::start_at(Some(bed.root().clone()), Kind::Alone).await?;
        prepare(&plane).await?;
        plane.prepared = Some(Prepared::now(&bed, &plane.site)?);
        Ok((bed, plane))
    }

    /// Restores the state after the preparation.
    async fn renew(&mut self) -> Result<Bed> {
        let bed = self.prepared.as_ref().context("it was not prepared")?.restore(&self.site)?;
        self.revive().await?;
        Ok(bed)
    }

    /// Ends the control plane.
    fn end(mut self, why: &str) {
        eprintln!("a control plane is not used again: {why}");
        self.prepared = None;
    }

    /// Makes the servers of a dropped control plane available for the next test.
    pub(super) fn give_back(&mut self) {
        let Some(prepared) = self.prepared.take() else { return };
        if let Some(apiserver) = &self.apiserver {
            eprintln!("--- apiserver (pid {}, goes on)\n{}", apiserver.pid(), apiserver.evidence());
        }
        let plane = Self {
            apiserver: self.apiserver.take(),
            etcd: self.etcd.take(),
            relay: self.relay.take(),
            prepared: Some(prepared),
            site: self.site.clone(),
        };
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(plane);
    }
}

fn idle() -> Option<ControlPlane> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;

    use super::*;

    const KEPT: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: kept}}";
    /// Objects that an API server doesn't delete immediately: no controller ends the namespace or removes the
    /// finalizer.
    const LEFT: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: left}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: map, namespace: left, finalizers: [example.org/stays]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}}
";

    async fn prepare(plane: &ControlPlane) -> Result<()> {
        plane.apply(KEPT).await
    }

    async fn has(plane: &ControlPlane, namespace: &str) -> bool {
        let all = Api::<Namespace>::all(plane.client().unwrap());
        all.get_opt(namespace).await.unwrap().is_some()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn next_user_finds_what_was_prepared_alone_and_gets_no_server_that_was_changed_or_stopped() {
        let (bed, mut plane) = ControlPlane::shared(prepare).await.unwrap();
        let address = plane.address();
        plane.apply(LEFT).await.unwrap();
        bed.node(1).unwrap();
        plane.kill();
        drop((bed, plane));

        let (bed, plane) = ControlPlane::shared(prepare).await.unwrap();
        assert_eq!(plane.address(), address, "another server");
        assert!(has(&plane, "kept").await && !has(&plane, "left").await);
        plane.apply(LEFT).await.unwrap();
        bed.node(1).unwrap();
        plane.apply(&KEPT.replace("name: kept", "name: kept, labels: {a: b}")).await.unwrap();
        drop((bed, plane));

        let mut changed = idle().unwrap();
        let error = changed.renew().await.unwrap_err().to_string();
        assert!(error.contains("/registry/namespaces/kept"), "{error}");
        changed.apiserver().unwrap().stop().unwrap();
        drop(changed);
        assert!(idle().is_none(), "a stopped server is to be used again");
    }
}
