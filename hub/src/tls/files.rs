//! A certificate in files that somebody else keeps, a mounted Secret for one ([`Files::show`], then [`follow`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::shown::Shown;

/// How often the files are looked at: a mounted Secret changes by a link's target, which no file watch of every system
/// sees.
const LOOK: Duration = Duration::from_secs(1);

/// Where the pair is.
#[derive(Clone, Debug)]
pub struct Files {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A chain and its key as they were read.
pub type Pair = (String, String);

/// Shows what the files hold later than `seen`, for ever.
///
/// # Errors
/// None that ends it: the last good pair stays, and the fault is logged once.
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
    /// Shows what the files hold now.
    ///
    /// # Errors
    /// They can't be read, or don't belong together.
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
