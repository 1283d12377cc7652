//! What the town's hub and agents prove themselves with: the rights of `deploy/rbac`, a serving certificate, and the tokens
//! that a kubelet would project into the agents' pods.

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
const API_AUDIENCE: &str = "https://kubernetes.default.svc";

/// How long the API server may take to know a new pod. Generous: the machine may be busy.
const GOOD: Duration = Duration::from_secs(40);

/// The ServiceAccount of the agents.
pub const ACCOUNT: &str = "portreeve-agent";

/// Certificates of a town.
pub struct Trust {
    /// The authority that agents trust, in PEM.
    pub authority: PathBuf,
    /// Arguments of hubs that are started from now on: where their certificate comes from.
    pub hub_args: Vec<String>,
    /// The hubs' certificate, unless they make one of their own.
    pub serving: Pair,
}

// === impl Trust ===

impl Trust {
    /// Gives hub and agents their rights, and the hubs a certificate in files under `dir`.
    ///
    /// # Errors
    /// The server refuses; the directory can't be written.
    pub async fn establish(client: &Client, dir: &Path) -> Result<Self> {
        install_rights(client).await?;
        Self::new(dir)
    }

    /// A certificate for hubs in files under `dir`.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn new(dir: &Path) -> Result<Self> {
        let authority = dir.join("hub-ca.pem");
        let serving = renew(&authority, dir)?;
        let (certificate, key) = (serving.certificate.display(), serving.key.display());
        let hub_args = vec![format!("--tls-cert={certificate}"), format!("--tls-key={key}")];
        Ok(Self { authority, hub_args, serving })
    }
}

/// Writes a new authority to `authority`, and a certificate of it that is good for any hub into `dir`.
///
/// # Errors
/// The directory can't be written.
pub fn renew(authority: &Path, dir: &Path) -> Result<Pair> {
    let signer = Authority::new("hub of a test")?;
    fs::write(authority, signer.pem())?;
    signer.serving(dir, &[HUB_NAME])
}

/// Applies `deploy/rbac`: the namespace first, the rest at once.
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

/// Makes the agent's pod of a node, and writes what its kubelet would mount: a kubeconfig and the token for the hub, under
/// `dir`.
///
/// # Errors
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
    // A server that was used before may for a moment look for the earlier pod of that name.
    wait::until("the pod's tokens to be good", GOOD, || is_good(client, &probe)).await?;
    let token = dir.join(format!("{node}.token"));
    fs::write(&token, hub)?;
    Ok((control.kubeconfig_with(&format!("agent-{node}"), &api)?, token))
}

/// Whether the API server takes a token.
async fn is_good(client: &Client, token: &str) -> bool {
    let review = TokenReview {
        spec: TokenReviewSpec { token: Some(token.into()), ..Default::default() },
        ..Default::default()
    };
    let reviewed = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await;
    reviewed.is_ok_and(|review| review.status.is_some_and(|status| status.authenticated == Some(true)))
}

/// A pod `portreeve/agent-<node>` on that node under a ServiceAccount.
pub fn pod(node: &str, account: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: agent-{node}, namespace: portreeve}}\n\
         spec: {{nodeName: {node}, hostNetwork: true, serviceAccountName: {account}, \
         containers: [{{name: agent, image: agent}}]}}\n"
    )
}
