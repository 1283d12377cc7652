//! Fetching the issuer's name and keys while the API server is there ([`follow`]), for the time when it is not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::Request;
use kube::Client;
use serde::Deserialize;
use tokio::sync::watch;

use super::keys::Keys;

/// Between two fetches; keys change when a person rotates them, and the new ones are published long before their use.
const AGAIN: Duration = Duration::from_secs(300);

/// After a fetch that failed.
const SOON: Duration = Duration::from_secs(10);

/// For both answers.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// Keeps the keys fresh, for ever. What was fetched last stays while nothing newer can be had.
///
/// # Errors
/// None that ends it: a failure is logged once, until the next success.
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
                        "the token issuer's keys are here: agents are known without the API server"
                    );
                }
            }
            Err(error) if !failing => tracing::warn!(
                error = format!("{error:#}"),
                "the token issuer's keys can't be fetched: agents that come while the API server is away are refused"
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
