//! Sources: other Kubernetes clusters whose pods are endpoints and allowed sources of clusters that pods join by annotation.
//! They are given by a file ([`SourceArgs::sources`]) and by a Secret ([`SourceArgs::sources_secret`]), and may change while the hub runs.
//! Entry point: [`spawn`].

mod file;
mod follow;
mod home;
mod intake;
mod kubeconfig;
mod list;
mod runner;
mod secret;
mod wishes;

use std::path::PathBuf;

use portreeve_runtime::{Readiness, Tasks};

use file::SourcesFile;
use runner::Runner;

pub use follow::Followed;
pub use home::Home;

/// Flags of sources.
#[derive(Clone, Debug, clap::Args)]
pub struct SourceArgs {
    /// JSON file with a list of {name, kubeconfig, listenersource}: Kubernetes clusters whose pods join clusters of
    /// IngressListeners and EgressListeners by annotation. It is read again when it or a kubeconfig changes.
    #[arg(long, value_name = "FILE")]
    pub sources: Option<PathBuf>,
    /// Secret in the hub's namespace with such clusters too: each key is a name, its value a kubeconfig. Default: none.
    #[arg(long, value_name = "NAME")]
    pub sources_secret: Option<String>,
    /// How long the pods of a cluster that can't be read stay endpoints and allowed sources, in seconds.
    #[arg(long, default_value_t = 3600)]
    pub source_grace: u32,
}

/// Starts to follow all sources. The hub's readiness waits for their names, not for their pods.
///
/// # Errors
/// Returns an error if the sources file is wrong. Later errors of the file are logged, and the sources stay as they are.
pub async fn spawn(
    tasks: &mut Tasks,
    args: &SourceArgs,
    home: Home<'_>,
    followed: Followed,
    readiness: &Readiness,
) -> anyhow::Result<()> {
    followed.feed.load(|index, _| index.set_source_grace(i64::from(args.source_grace) * 1000));
    if args.sources.is_none() && args.sources_secret.is_none() {
        return Ok(());
    }
    let mut runner = Runner::new(followed);
    if let Some(path) = &args.sources {
        let mut file = SourcesFile::new(path, home.config.clone());
        let first = file.look().await.unwrap_or_else(|| Ok(wishes::Wishes::new()));
        runner.set_file(file, first.map_err(anyhow::Error::msg)?);
    }
    if let Some(name) = &args.sources_secret {
        let (watch, found) = secret::watch(home, name);
        tasks.spawn("watch of the sources' Secret", watch);
        runner.set_secret(found, readiness.guard("the sources' Secret"));
    }
    tasks.spawn("sources", runner.run());
    Ok(())
}
