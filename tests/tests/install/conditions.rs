//! Records the status of a VirtualService over time ([`Said`]).

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use futures::StreamExt as _;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use portreeve_api::a::virtual_service::VirtualService;
use tokio::task::JoinSet;

use crate::site::Site;

/// All values of the condition `Programmed`, in order.
pub struct Said {
    words: Arc<Mutex<Vec<String>>>,
    _following: JoinSet<()>,
}

// === impl Said ===

impl Said {
    /// Starts recording.
    pub fn of(site: &Site, name: &str) -> Result<Self> {
        let api = Api::<VirtualService>::namespaced(site.cluster.client()?, "default");
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let (words, mut following) = (Arc::<Mutex<Vec<String>>>::default(), JoinSet::new());
        let heard = words.clone();
        following.spawn(async move {
            let mut objects = std::pin::pin!(watcher(api, only).default_backoff().applied_objects());
            while let Some(object) = objects.next().await {
                let said = object.ok().and_then(|object| programmed(&object));
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                let news = said.filter(|said| heard.last() != Some(said));
                heard.extend(news);
            }
        });
        Ok(Self { words, _following: following })
    }

    /// Returns all values so far.
    pub fn so_far(&self) -> Vec<String> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn programmed(object: &VirtualService) -> Option<String> {
    let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
    let said = conditions.find(|condition| condition.type_ == "Programmed")?;
    Some(format!("{} {}: {}", said.status, said.reason, said.message))
}
