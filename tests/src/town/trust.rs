//! Credentials of the town's hub and agents: the rights of `deploy/rbac`, a serving certificate, and the tokens that a
//! kubelet would project into the agents' pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use portreeve_api::names::{HUB_AUDIENCE, HUB_NAME};

use crate::certs::{Authority, Pair};
use crate::controlplane::ControlPlane;
use crate::{manifest, wait};

/// The audience of tokens for the API server itself.
pub const API_AUDIENCE: &str = "https://kubernetes.default.svc";

/// Timeout for the API server to accept a new pod's token. Long, because the machine may be busy.
const GOOD: Duration = Duration::from_secs(40);

/// The agents' ServiceAccount.
pub const ACCOUNT: &str = "portreeve-agent";

/// The certificates of a town.
pub struct Trust {
    /// The CA that agents trust, in PEM.
    pub authority: PathBuf,
    /// Certificate arguments for hubs that are started from now on.
    pub hub_args: Vec<String>,
    /// The hubs' certificate, unless they create their own.
    pub serving: Pair,
}

// === impl Trust ===

impl Trust {
    /// Grants hub and agents their rights, and writes a certificate for the hubs to files in `dir`.
    ///
    /// # Errors
    /// Returns an error if the server rejects an object or the directory can't be written.
    pub async fn establish(client: &Client, dir: &Path) -> Result<Self> {
        install_rights(client).await?;
        Self::new(dir)
    }

    /// Writes a certificate for hubs to files in `dir`.
    ///
    /// # Errors
    /// Returns an error if the directory can't be written.
    pub fn new(dir: &Path) -> Result<Self> {
        let authority = dir.join("hub-ca.pem");
        let serving = renew(&authority, dir)?;
        let (certificate, key) = (serving.certificate.display(), serving.key.display());
        let hub_args = vec![format!("--tls-cert={certificate}"), format!("--tls-key={key}")];
        Ok(Self { authority, hub_args, serving })
    }
}

/// Writes a new CA to `authority`, and a certificate signed by it for any hub to `dir`.
///
/// # Errors
/// Returns an error if the directory can't be written.
pub fn renew(authority: &Path, dir: &Path) -> Result<Pair> {
    let signer = Authority::new("hub of a test")?;
    fs::write(authority, signer.pem())?;
    signer.serving(dir, &[HUB_NAME])
}

/// Applies `deploy/rbac`: the namespace first, then the rest concurrently.
pub(super) async fn install_rights(client: &Client) -> Result<()> {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rbac"));
    manifest::apply(client, &fs::read_to_string(directory.join("namespace.yaml"))?).await?;
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml");
        if yaml && !path.ends_with("namespace.yaml") {
            texts.push(fs::read_to_string(&path)?);
        }
    }
    let applied = texts.iter().map(|text| manifest::apply(client, text));
    futures::future::try_join_all(applied).await.context("deploy/rbac")?;
    Ok(())
}

/// Creates a node's agent pod, and writes the files that its kubelet would mount to `dir`: a kubeconfig and the token
/// for the hub.
///
/// # Errors
/// Returns an error if the server rejects an object or the directory can't be written.
/// The server refuses; the directory can't be written.
pub async fn agent(
    control: &ControlPlane,
    client: &Client,
    (node, dir): (&str, &Path),
) -> Result<(PathBuf, PathBuf)> {
    manifest::apply(client, &pod(node, ACCOUNT)).await?;
    let name = format!("portreeve/agent-{node}");
    let (api, hub, probe) = tokio::try_join!(
        control.bound_token(ACCOUNT, &name, API_AUDIENCE),
        control.bound_token(ACCOUNT, &name, HUB_AUDIENCE),
        control.bound_token(ACCOUNT, &name, API_AUDIENCE),
    )?;
    // A reused server may still know the earlier pod of that name for a moment.
    wait::until("the pod's tokens to be good", GOOD, || is_good(client, &probe)).await?;
    let token = dir.join(format!("{node}.token"));
    fs::write(&token, hub)?;
    Ok((control.kubeconfig_with(&format!("agent-{node}"), &api)?, token))
}

/// Returns whether the API server accepts a token.
async fn is_good(client: &Client, token: &str) -> bool {
    let review = TokenReview {
        spec: TokenReviewSpec { token: Some(token.into()), ..Default::default() },
        ..Default::default()
    };
    let reviewed = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await;
    reviewed.is_ok_and(|review| review.status.is_some_and(|status| status.authenticated == Some(true)))
}

/// Returns a pod `portreeve/agent-<node>` on that node with a ServiceAccount.
pub fn pod(node: &str, account: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: agent-{node}, namespace: portreeve}}\n\
         spec: {{nodeName: {node}, hostNetwork: true, serviceAccountName: {account}, \
         containers: [{{name: agent, image: agent}}]}}\n"
    )
}
