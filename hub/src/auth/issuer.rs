//! Fetches the token issuer's name and keys while the API server is reachable ([`follow`]), for use while it is not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::Request;
use kube::Client;
use serde::Deserialize;
use tokio::sync::watch;

use super::keys::Keys;

/// Interval between two fetches. Keys change only when an administrator rotates them, and new keys are published long
/// before they are used.
const AGAIN: Duration = Duration::from_secs(300);

/// Delay after a failed fetch.
const SOON: Duration = Duration::from_secs(10);

/// Timeout for both requests together.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// Fetches the keys periodically and never returns. After a failure, the last fetched keys stay in use.
///
/// # Errors
/// Never returns an error: a failure is logged once until the next success.
pub async fn follow(client: Client, keys: watch::Sender<Option<Arc<Keys>>>) -> anyhow::Result<()> {
    let mut failing = false;
    loop {
        let fetched = match tokio::time::timeout(PATIENCE, fetch(&client)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(anyhow!("no answer in {PATIENCE:?}")),
        };
        let pause = if fetched.is_ok() { AGAIN } else { SOON };
        match fetched {
            Ok(fetched) => {
                let first = keys.send_replace(Some(Arc::new(fetched))).is_none();
                if first || failing {
                    tracing::info!(
                        "the token issuer's keys were fetched: agents can be verified without the API server"
                    );
                }
            }
            Err(error) if !failing => tracing::warn!(
                error = format!("{error:#}"),
                "the token issuer's keys can't be fetched: agents that connect while the API server is unreachable are refused"
            ),
            Err(_) => {}
        }
        failing = pause == SOON;
        tokio::time::sleep(pause).await;
    }
}

async fn fetch(client: &Client) -> anyhow::Result<Keys> {
    let discovery = get(client, "/.well-known/openid-configuration").await?;
    let discovery: Discovery = serde_json::from_str(&discovery).context("the issuer's discovery document")?;
    let set = get(client, "/openid/v1/jwks").await?;
    Keys::read(discovery.issuer, &set).map_err(|error| anyhow!("/openid/v1/jwks: {error}"))
}

async fn get(client: &Client, path: &'static str) -> anyhow::Result<String> {
    let request = Request::get(path).body(Vec::new())?;
    client.request_text(request).await.context(path)
}
