//! Counts the writes of an object's status with a watch. Entry point: [`Writes::of`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use portreeve_api::a::virtual_service::VirtualService;
use serde_json::Value;
use tokio::task::JoinSet;

/// The different statuses of each VirtualService in namespace `default` since the start of the watch.
pub struct Writes {
    seen: Arc<Mutex<Seen>>,
    _task: JoinSet<()>,
}

/// The events of the watch.
#[derive(Default)]
struct Seen {
    /// The different statuses of each object, in order.
    statuses: BTreeMap<String, Vec<Value>>,
    /// Errors of the watch. Statuses may have been missed.
    failures: Vec<String>,
}

// === impl Seen ===

impl Seen {
    /// Records an object's status if it differs from the last one.
    fn note(&mut self, object: &VirtualService) {
        let status = serde_json::to_value(&object.status).unwrap_or_default();
        let all = self.statuses.entry(object.name_any()).or_default();
        if !status.is_null() && all.last() != Some(&status) {
            all.push(status);
        }
    }
}

// === impl Writes ===

impl Writes {
    /// Starts to watch.
    pub fn of(client: &Client) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let api = Api::<VirtualService>::namespaced(client.clone(), "default");
        let (mut task, book) = (JoinSet::new(), seen.clone());
        task.spawn(async move {
            let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
            while let Some(event) = events.next().await {
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => book.note(&object),
                    Ok(Event::Delete(_) | Event::Init | Event::InitDone) => {}
                    Err(error) => book.failures.push(error.to_string()),
                }
            }
        });
        Self { seen, _task: task }
    }

    /// Checks that the status of each of these objects was written, and at most `most` times.
    ///
    /// # Errors
    /// Returns an error if the watch failed or missed an object, or with all statuses if one was written more often.
    pub fn at_most(&self, most: usize, names: &[&str]) -> Result<()> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(seen.failures.is_empty(), "the watch failed: {:?}", seen.failures);
        for name in names {
            let all = seen.statuses.get(*name).map_or(&[][..], Vec::as_slice);
            println!("status of {name}: {} writes", all.len());
            ensure!(!all.is_empty(), "the watch saw no status of {name}");
            ensure!(all.len() <= most, "{name}: {} writes: {all:#?}", all.len());
        }
        Ok(())
    }
}
