//! A certificate in files that are maintained elsewhere, for example in a mounted Secret ([`Files::show`], then
//! [`follow`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::shown::Shown;

/// How often the files are read. A mounted Secret changes by the target of a symbolic link, which file notifications
/// don't report on every system.
const LOOK: Duration = Duration::from_secs(1);

/// The paths of the certificate and its key.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A certificate chain and its key, as read.
pub type Pair = (String, String);

/// Uses the content of the files whenever it differs from `seen`, and never returns.
///
/// # Errors
/// Never returns an error: the last good pair stays in use, and the problem is logged once.
pub async fn follow(files: Files, mut seen: Pair, shown: Arc<Shown>) -> anyhow::Result<()> {
    let mut said = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let outcome = match files.read().await {
            Ok(pair) if pair == seen => continue,
            Ok(pair) => shown.set(&pair.0, &pair.1).map(|()| seen = pair),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                said.clear();
                tracing::info!(file = %files.certificate.display(), "new certificate");
            }
            Err(error) => {
                let words = format!("{error:#}");
                if words != said {
                    tracing::warn!(files = files.title(), error = words, "the last good certificate stays");
                    said = words;
                }
            }
        }
    }
}

// === impl Files ===

impl Files {
    /// Uses the current content of the files.
    ///
    /// # Errors
    /// Returns an error if the files can't be read or the key isn't that of the certificate.
    pub async fn show(&self, shown: &Shown) -> anyhow::Result<Pair> {
        let pair = self.read().await?;
        shown.set(&pair.0, &pair.1).with_context(|| self.title())?;
        Ok(pair)
    }

    async fn read(&self) -> anyhow::Result<Pair> {
        Ok((text("--tls-cert", &self.certificate).await?, text("--tls-key", &self.key).await?))
    }

    fn title(&self) -> String {
        format!("--tls-cert {} --tls-key {}", self.certificate.display(), self.key.display())
    }
}

async fn text(flag: &str, path: &Path) -> anyhow::Result<String> {
    tokio::fs::read_to_string(path).await.with_context(|| format!("{flag} {}", path.display()))
}
