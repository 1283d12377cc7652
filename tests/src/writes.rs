//! Counting the writes of an object's status, as a watch sees them. Entry point: [`Writes::of`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use portreeve_api::virtual_service::VirtualService;
use serde_json::Value;
use tokio::task::JoinSet;

/// The different statuses of each VirtualService of namespace `default`, from now on.
pub struct Writes {
    seen: Arc<Mutex<BTreeMap<String, Vec<Value>>>>,
    _task: JoinSet<()>,
}

// === impl Writes ===

impl Writes {
    /// Starts to watch.
    pub fn of(client: &Client) -> Self {
        let seen: Arc<Mutex<BTreeMap<String, Vec<Value>>>> = Arc::default();
        let api = Api::<VirtualService>::namespaced(client.clone(), "default");
        let (mut task, book) = (JoinSet::new(), seen.clone());
        task.spawn(async move {
            let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
            while let Some(event) = events.next().await {
                let (Ok(Event::Apply(object)) | Ok(Event::InitApply(object))) = event else { continue };
                let status = serde_json::to_value(&object.status).unwrap_or_default();
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                let all = book.entry(object.name_any()).or_default();
                if !status.is_null() && all.last() != Some(&status) {
                    all.push(status);
                }
            }
        });
        Self { seen, _task: task }
    }

    /// Holds that no object's status was written more often than that.
    ///
    /// # Errors
    /// One was: it is named, with what was written.
    pub fn at_most(&self, most: usize) -> Result<()> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, all) in &*seen {
            println!("status of {name}: {} writes", all.len());
            ensure!(all.len() <= most, "{name}: {} writes: {all:#?}", all.len());
        }
        Ok(())
    }
}
