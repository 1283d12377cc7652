//! Counts the writes of an object's status with a watch. Entry point: [`Writes::of`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use portreeve_api::a::virtual_service::VirtualService;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::wait;

/// The different statuses of each VirtualService in namespace `default` since the start of the watch.
pub struct Writes {
    seen: Arc<Mutex<Seen>>,
    _task: JoinSet<()>,
}

/// The events of the watch.
#[derive(Default)]
struct Seen {
    /// The different statuses of each object, in order.
    objects: BTreeMap<String, Vec<Write>>,
    /// Errors of the watch. Statuses may have been missed.
    failures: Vec<String>,
}

/// A status of an object that differs from its last one.
#[derive(Clone, Debug)]
pub struct Write {
    /// When the watch delivered it.
    pub at: Instant,
    /// How long the object's generation had been known to the watch by then.
    pub age: Duration,
    /// The object's generation.
    pub generation: i64,
    /// The status. `Null` for a generation that has no new status yet.
    pub status: Value,
}

// === impl Seen ===

impl Seen {
    /// Records an object's generation, and its status if it differs from the last one.
    fn note(&mut self, object: &VirtualService, at: Instant) {
        let status = serde_json::to_value(&object.status).unwrap_or_default();
        let generation = object.metadata.generation.unwrap_or_default();
        let all = self.objects.entry(object.name_any()).or_default();
        let begun = all.iter().find(|one| one.generation == generation).map_or(at, |one| one.at);
        if begun == at {
            all.push(Write { at, age: Duration::ZERO, generation, status: Value::Null });
        }
        let last = all.iter().rev().find(|one| !one.status.is_null());
        if !status.is_null() && last.is_none_or(|last| last.status != status) {
            all.push(Write { at, age: at.duration_since(begun), generation, status });
        }
    }

    fn of(&self, name: &str) -> Vec<Write> {
        let all = self.objects.get(name).into_iter().flatten();
        all.filter(|one| !one.status.is_null()).cloned().collect()
    }
}

// === impl Write ===

impl Write {
    /// Returns status and reason of a condition for the object's generation.
    pub fn says(&self, kind: &str) -> Option<(&str, &str)> {
        let found = self.condition(kind)?;
        let current = found["observedGeneration"].as_i64() == Some(self.generation);
        current.then_some((found["status"].as_str()?, found["reason"].as_str()?))
    }

    /// Returns the time since which a condition has its status.
    pub fn since(&self, kind: &str) -> Option<&str> {
        self.condition(kind)?["lastTransitionTime"].as_str()
    }

    fn condition(&self, kind: &str) -> Option<&Value> {
        self.status["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
    }

    fn is_programmed(&self) -> bool {
        self.says("Programmed").is_some_and(|(status, _)| status == "True")
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
                    Ok(Event::Apply(object) | Event::InitApply(object)) => book.note(&object, Instant::now()),
                    Ok(Event::Delete(_) | Event::Init | Event::InitDone) => {}
                    Err(error) => book.failures.push(error.to_string()),
                }
            }
        });
        Self { seen, _task: task }
    }

    /// Waits until each of these objects is programmed in a generation, and returns the writes of all.
    ///
    /// # Errors
    /// Returns an error after `bound`, or if the watch failed.
    pub async fn programmed(
        &self,
        names: &[&String],
        generation: i64,
        bound: Duration,
    ) -> Result<BTreeMap<String, Vec<Write>>> {
        let is_current = |write: &Write| write.generation == generation && write.is_programmed();
        wait::until(&format!("{} programmed objects", names.len()), bound, || {
            let seen = self.lock();
            let all = names
                .iter()
                .all(|name| seen.objects.get(*name).and_then(|all| all.last()).is_some_and(is_current));
            std::future::ready(all)
        })
        .await?;
        let seen = self.lock();
        ensure!(seen.failures.is_empty(), "the watch failed: {:?}", seen.failures);
        Ok(names.iter().map(|name| ((*name).clone(), seen.of(name))).collect())
    }

    /// Checks that the status of each of these objects was written, and at most `most` times.
    ///
    /// # Errors
    /// Returns an error if the watch failed or missed an object, or with all statuses if one was written more often.
    pub fn at_most(&self, most: usize, names: &[&str]) -> Result<()> {
        let seen = self.lock();
        ensure!(seen.failures.is_empty(), "the watch failed: {:?}", seen.failures);
        for name in names {
            let all = seen.of(name);
            println!("status of {name}: {} writes", all.len());
            ensure!(!all.is_empty(), "the watch saw no status of {name}");
            ensure!(all.len() <= most, "{name}: {} writes: {all:#?}", all.len());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
