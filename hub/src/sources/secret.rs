//! The watch of the Secret of `--sources-secret`. Entry point: [`watch`].

use std::collections::BTreeMap;

use kube::Api;
use kube::runtime::watcher;
use portreeve_runtime::watch::{Verbs, is_forbidden, run};
use portreeve_xds::Name;
use tokio::sync::watch;

use super::home::Home;
use crate::lookup::SecretBytes;
use crate::secrets::SecretObject;

/// The content of the Secret by key. `None` if there is no such Secret.
pub type Found = Option<BTreeMap<Name, SecretBytes>>;

/// Passes each state of the Secret on.
struct Passing {
    name: String,
    /// `None` until the Secret was read.
    found: watch::Sender<Option<Found>>,
}

/// Returns the watch of a Secret in the hub's namespace, and what it finds: `None` until the Secret was read.
pub fn watch(
    home: Home<'_>,
    name: &str,
) -> (impl Future<Output = anyhow::Result<()>> + Send + use<>, watch::Receiver<Option<Found>>) {
    let (found, receiver) = watch::channel(None);
    let api = Api::<SecretObject>::namespaced(home.client.clone(), home.namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let verbs = Passing { name: format!("{}/{name}", home.namespace), found };
    (run(api, config, None, Some, verbs), receiver)
}

impl Verbs<SecretObject> for Passing {
    fn apply(&mut self, object: SecretObject) {
        self.found.send_replace(Some(Some(object.into_facts().into_contents())));
    }

    fn delete(&mut self, _: SecretObject) {
        self.found.send_replace(Some(None));
    }

    fn reset(&mut self, objects: Vec<SecretObject>) {
        let found = objects.into_iter().next().map(|object| object.into_facts().into_contents());
        self.found.send_replace(Some(found));
    }

    fn failed(&mut self, error: &watcher::Error) {
        if is_forbidden(error) {
            tracing::error!(
                secret = self.name,
                "the hub may not read the Secret of --sources-secret: grant its ServiceAccount list and watch on it"
            );
        }
    }
}
