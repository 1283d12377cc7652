//! The hubs' own certificate in a Secret that all hubs share ([`Keeper::run`]): the first hub creates it, the others
//! read it. The CA is published in a ConfigMap for the agents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::PostParams;
use kube::{Api, Client};
use portreeve_runtime::{Guard, now_ms};

use super::own::{Due, Material};
use super::shown::Shown;

/// Name of the Secret.
const SECRET: &str = "portreeve-hub-tls";

/// Name of the ConfigMap with the CA.
const PUBLISHED: &str = "portreeve-hub-ca";

/// How often the Secret is read. A renewal may take a month.
const LOOK: Duration = Duration::from_secs(60);

/// Delay after a failure while there is no certificate.
const SOON: Duration = Duration::from_secs(1);

/// Number of attempts when other hubs write at the same time.
const TRIES: usize = 5;

/// Maintains the shared certificate.
pub struct Keeper {
    namespace: String,
    secrets: Api<Secret>,
    published: Api<ConfigMap>,
    names: BTreeSet<String>,
}

// === impl Keeper ===

impl Keeper {
    /// Creates a keeper in a namespace, for a hub with these names.
    pub fn new(client: Client, namespace: &str, names: &[String]) -> Self {
        Self {
            namespace: namespace.into(),
            secrets: Api::namespaced(client.clone(), namespace),
            published: Api::namespaced(client, namespace),
            names: names.iter().cloned().collect(),
        }
    }

    /// Uses the shared certificate, renews it in time, and never returns.
    ///
    /// # Errors
    /// Never returns an error: failures are logged once and retried, and the last good certificate stays in use.
    pub async fn run(self, shown: Arc<Shown>, guard: Guard) -> anyhow::Result<()> {
        let (mut guard, mut said, mut last) = (Some(guard), String::new(), String::new());
        loop {
            match self.pass(&shown, &mut last).await {
                Ok(()) => {
                    said.clear();
                    drop(guard.take());
                }
                Err(error) => {
                    let words = format!("{error:#}");
                    if words != said {
                        tracing::warn!(error = words, "the hub's own certificate can't be read or renewed");
                        said = words;
                    }
                }
            }
            tokio::time::sleep(if guard.is_some() { SOON } else { LOOK }).await;
        }
    }

    /// Reads or creates the certificate, and uses it if it differs from `last`.
    async fn pass(&self, shown: &Shown, last: &mut String) -> anyhow::Result<()> {
        let material = self.agreed(now_ms() / 1000).await?;
        self.publish(&material.authorities).await?;
        if material.certificate != *last {
            shown.set(&material.certificate, &material.key).with_context(|| self.title())?;
            tracing::info!(secret = self.title(), "certificate of the hubs' own authority");
            last.clone_from(&material.certificate);
        }
        Ok(())
    }

    /// Returns the certificate that all hubs agree on: the first writer wins, the others read its version.
    async fn agreed(&self, now: i64) -> anyhow::Result<Material> {
        for _ in 0..TRIES {
            let stored = self.secrets.get_opt(SECRET).await.with_context(|| self.title())?;
            let (material, written) = match stored {
                None => self.create(now).await?,
                Some(secret) => self.renew(secret, now).await?,
            };
            match written {
                Ok(()) => return Ok(material),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error).with_context(|| self.title()),
            }
        }
        bail!("{}: other hubs keep changing it", self.title())
    }

    async fn create(&self, now: i64) -> anyhow::Result<(Material, kube::Result<()>)> {
        let material = Material::new(&self.names, now)?;
        let mut secret = Secret::default();
        secret.metadata.name = Some(SECRET.into());
        secret.type_ = Some("kubernetes.io/tls".into());
        secret.data = Some(bytes(material.to_data()?));
        let written = self.secrets.create(&PostParams::default(), &secret).await.map(drop);
        Ok((material, written))
    }

    async fn renew(&self, mut secret: Secret, now: i64) -> anyhow::Result<(Material, kube::Result<()>)> {
        let data = secret.data.take().unwrap_or_default();
        let data = data.into_iter().map(|(name, ByteString(bytes))| (name, bytes)).collect();
        let material = Material::from_data(&data)
            .with_context(|| format!("{}: repair it, or delete it to have a new one made", self.title()))?;
        let due = material.due(&self.names, now);
        if due == Due::Nothing {
            return Ok((material, Ok(())));
        }
        let renewed = material.renewed(due, &self.names, now).with_context(|| self.title())?;
        secret.data = Some(bytes(renewed.to_data()?));
        // A replace carries the resourceVersion. If two hubs renew at once, one of them gets a conflict.
        let written = self.secrets.replace(SECRET, &PostParams::default(), &secret).await.map(drop);
        Ok((renewed, written))
    }

    async fn publish(&self, authorities: &str) -> anyhow::Result<()> {
        let title = || format!("ConfigMap {}/{PUBLISHED}", self.namespace);
        let data = BTreeMap::from([("ca.crt".to_string(), authorities.to_string())]);
        let written = match self.published.get_opt(PUBLISHED).await.with_context(title)? {
            Some(stored) if stored.data.as_ref() == Some(&data) => Ok(()),
            Some(mut stored) => {
                stored.data = Some(data);
                self.published.replace(PUBLISHED, &PostParams::default(), &stored).await.map(drop)
            }
            None => {
                let mut map = ConfigMap { data: Some(data), ..ConfigMap::default() };
                map.metadata.name = Some(PUBLISHED.into());
                self.published.create(&PostParams::default(), &map).await.map(drop)
            }
        };
        match written {
            // Another hub has published the same or a newer CA, which the next reading finds.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => other.with_context(title),
        }
    }

    fn title(&self) -> String {
        format!("Secret {}/{SECRET}", self.namespace)
    }
}

fn bytes(data: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, ByteString> {
    data.into_iter().map(|(name, bytes)| (name, ByteString(bytes))).collect()
}
