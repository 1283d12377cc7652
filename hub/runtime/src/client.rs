//! A client of the API server.

use std::path::Path;

use anyhow::Context;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Connects with a kubeconfig file; without one with $KUBECONFIG, the user's own, or the pod's service account.
///
/// # Errors
/// The file can't be read, or there is nothing to connect with.
pub async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let read =
                Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await.context("no --kubeconfig, no $KUBECONFIG, no service account")?,
    };
    // An API server that comes back asks for 5 s of patience: watches have their own, shorter.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}
