//! The sources file of `--sources`, with the kubeconfigs that it names ([`SourcesFile`]). It is read again and again, because
//! mounted ConfigMaps and Secrets change in place.

use std::path::{Path, PathBuf};

use kube::Config;
use portreeve_xds::Version;

use super::kubeconfig::{self, Place, Readable};
use super::list::{self, Entry};
use super::wishes::{Wish, Wishes};

/// The file.
pub struct SourcesFile {
    path: PathBuf,
    /// The hub's own cluster.
    own: Config,
    /// The content that was looked at last, of the file and of all kubeconfigs.
    seen: Option<Version>,
}

/// The content of an entry's kubeconfig; `None` for the hub's own cluster without one.
type Content = Option<Result<Vec<u8>, String>>;

/// What was read: the entries with the contents of their kubeconfigs, and remarks on the file.
type Read = (Vec<(Entry, Content)>, Vec<String>);

// === impl SourcesFile ===

impl SourcesFile {
    /// Creates a reader of the file at `path`.
    pub fn new(path: &Path, own: Config) -> Self {
        Self { path: path.to_owned(), own, seen: None }
    }

    /// Reads the file, and the kubeconfigs that it names. Returns `None` if nothing changed since the last call.
    ///
    /// # Errors
    /// Returns an error with the file, the entry and the problem. A kubeconfig that can't be used is an error of its own source
    /// only.
    pub async fn look(&mut self) -> Option<Result<Wishes, String>> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let (seen, read) = read.unwrap_or_else(|error| (Version::of(b""), Err(error.to_string())));
        if self.seen.replace(seen) == Some(seen) {
            return None;
        }
        let wishes = match read {
            Ok((entries, remarks)) => {
                for remark in remarks {
                    tracing::warn!(remark, "unusual sources file");
                }
                self.wishes(entries).await
            }
            Err(error) => Err(error),
        };
        Some(wishes.map_err(|error| format!("--sources {}: {error}", self.path.display())))
    }

    async fn wishes(&self, entries: Vec<(Entry, Content)>) -> Result<Wishes, String> {
        let mut wishes = Wishes::new();
        for (entry, content) in entries {
            let Some(path) = entry.kubeconfig else { continue };
            let content = content.unwrap_or_else(|| Ok(Vec::new()));
            let place = Place::File(&path);
            let version = content.as_ref().map_or(Version::of(b""), |content| Version::of(content));
            let kubeconfig = content.and_then(|content| kubeconfig::read(&content, place));
            let is_own = match &kubeconfig {
                Ok(kubeconfig) => self.is_own(kubeconfig, entry.listener_source).await,
                Err(error) => Err(error.clone()),
            };
            match is_own {
                Ok(true) => {
                    tracing::info!(
                        source = &*entry.name,
                        "the source is the hub's own cluster, which is watched anyway"
                    );
                }
                Ok(false) if entry.listener_source => return Err(foreign(&entry.name, &path)),
                Err(error) if entry.listener_source => {
                    let (name, path) = (&entry.name, path.display());
                    return Err(format!("source {name}, which has listenersource, {path}: {error}"));
                }
                Ok(false) | Err(_) => {
                    let kubeconfig = kubeconfig.map_err(|error| format!("{}: {error}", path.display()));
                    wishes.insert(entry.name, Wish { version, kubeconfig });
                }
            }
        }
        Ok(wishes)
    }

    async fn is_own(&self, kubeconfig: &Readable, listener_source: bool) -> Result<bool, String> {
        let config = kubeconfig.config().await?;
        Ok(kubeconfig::is_same_cluster(&self.own, &config, listener_source))
    }
}

/// Reads everything, and returns its version too.
fn read(path: &Path) -> (Version, Result<Read, String>) {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            return (Version::of(error.to_string().as_bytes()), Err(format!("it can't be read: {error}")));
        }
    };
    let (entries, remarks) = match list::parse(&text) {
        Ok(parsed) => parsed,
        Err(error) => return (Version::of(&text), Err(error)),
    };
    let mut all = text;
    let with_content = entries.into_iter().map(|entry| {
        let content = entry.kubeconfig.as_deref().map(kubeconfig::load);
        match &content {
            Some(Ok(content)) => all.extend(content),
            Some(Err(error)) => all.extend(error.as_bytes()),
            None => {}
        }
        (entry, content)
    });
    let with_content = with_content.collect();
    (Version::of(&all), Ok((with_content, remarks)))
}

fn foreign(name: &str, path: &Path) -> String {
    format!(
        "source {name} has listenersource, but its kubeconfig {} leads to another cluster than the hub's own: custom resources and \
         Secrets are read from the hub's own cluster only. Run a hub in that cluster, and set listenersource to false here; if \
         it is the hub's own cluster, set kubeconfig to \"\"",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use portreeve_xds::Name;

    use super::*;

    /// A directory with a sources file, and the file's reader in a cluster whose API server is https://own:1.
    struct Bed {
        dir: tempfile::TempDir,
        file: SourcesFile,
    }

    impl Bed {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = SourcesFile::new(
                &dir.path().join("config.json"),
                Config::new("https://own:1".parse().unwrap()),
            );
            Self { dir, file }
        }

        /// Writes a file. In its text, `DIR` is the directory.
        fn write(&self, name: &str, text: &str) {
            let text = text.replace("DIR", &self.dir.path().display().to_string());
            std::fs::write(self.dir.path().join(name), text).unwrap();
        }

        fn kubeconfig(&self, name: &str, url: &str) {
            let text = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], \
                        clusters: [{name: k, cluster: {server: 'URL'}}], users: []}";
            self.write(name, &text.replace("URL", url));
        }

        /// The names of the sources, those with a bad kubeconfig with an exclamation mark.
        async fn look(&mut self) -> Option<Result<Vec<String>, String>> {
            let name = |(name, wish): (&Name, &Wish)| {
                format!("{name}{}", if wish.kubeconfig.is_ok() { "" } else { "!" })
            };
            Some(self.file.look().await?.map(|wishes| wishes.iter().map(name).collect()))
        }
    }

    #[tokio::test]
    async fn example_of_the_original_names_the_hubs_own_cluster_and_another() {
        let mut bed = Bed::new();
        bed.kubeconfig("aws.kubeconfig", "https://own:1");
        bed.kubeconfig("gcp.kubeconfig", "https://gcp:1");
        let text = r#"[{"name": "aws", "kubeconfig": "DIR/aws.kubeconfig", "listenersource": true},
                       {"name": "gcp", "kubeconfig": "DIR/gcp.kubeconfig", "listenersource": false},
                       {"name": "here", "kubeconfig": ""}]"#;
        bed.write("config.json", text);
        assert_eq!(bed.look().await.unwrap().unwrap(), ["gcp"]);
        assert!(bed.look().await.is_none(), "nothing changed");
    }

    #[tokio::test]
    async fn listener_source_in_another_cluster_is_refused_with_what_to_do() {
        let mut bed = Bed::new();
        bed.kubeconfig("gcp", "https://gcp:1");
        bed.write("config.json", r#"[{"name": "gcp", "kubeconfig": "DIR/gcp", "listenersource": true}]"#);
        let refused = bed.look().await.unwrap().unwrap_err();
        let path = bed.dir.path().display().to_string();
        for part in [
            format!("--sources {path}/config.json: source gcp has listenersource"),
            format!("kubeconfig {path}/gcp leads to another cluster"),
            "set listenersource to false".to_owned(),
        ] {
            assert!(refused.contains(&part), "{refused}");
        }
        bed.write("gcp", "nonsense: [");
        let refused = bed.look().await.unwrap().unwrap_err();
        assert!(
            refused.contains("source gcp, which has listenersource") && refused.contains("not YAML"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn changes_of_the_file_and_of_kubeconfigs_are_noticed() {
        let mut bed = Bed::new();
        let refused = bed.look().await.unwrap().unwrap_err();
        assert!(refused.contains("config.json: it can't be read"), "{refused}");
        assert!(bed.look().await.is_none(), "it is said once");
        bed.write(
            "config.json",
            r#"[{"name": "a", "kubeconfig": "DIR/a"}, {"name": "b", "kubeconfig": "DIR/b"}]"#,
        );
        bed.kubeconfig("b", "https://b:1");
        assert_eq!(bed.look().await.unwrap().unwrap(), ["a!", "b"]);
        bed.kubeconfig("a", "https://a:1");
        assert_eq!(bed.look().await.unwrap().unwrap(), ["a", "b"]);
        bed.kubeconfig("a", "https://a:2");
        assert_eq!(bed.look().await.unwrap().unwrap(), ["a", "b"]);
        std::fs::remove_file(bed.dir.path().join("b")).unwrap();
        assert_eq!(bed.look().await.unwrap().unwrap(), ["a", "b!"]);
        bed.write("config.json", r#"[{"name": "a", "kubeconfig": "#);
        assert!(bed.look().await.unwrap().unwrap_err().contains("it is not JSON"));
        bed.write("config.json", "[]");
        assert_eq!(bed.look().await.unwrap().unwrap(), [""; 0]);
    }
}
