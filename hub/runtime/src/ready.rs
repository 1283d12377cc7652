//! Readiness as dropped guards: the process is ready when every task that held one has let it go.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// Who is not ready yet.
#[derive(Clone, Debug)]
pub struct Readiness {
    waiting: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

/// Held by a task until it is ready; dropped, it says so.
#[derive(Debug)]
pub struct Guard {
    name: &'static str,
    waiting: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

// === impl Readiness ===

impl Default for Readiness {
    fn default() -> Self {
        Self { waiting: Arc::new(watch::Sender::new(BTreeSet::new())) }
    }
}

impl Readiness {
    /// Not ready until the guard is dropped. `name` tells a person what is waited for.
    pub fn guard(&self, name: &'static str) -> Guard {
        self.waiting.send_modify(|waiting| {
            waiting.insert(name);
        });
        Guard { name, waiting: self.waiting.clone() }
    }

    /// The names that are waited for now; empty: ready.
    pub fn waiting(&self) -> Vec<&'static str> {
        self.waiting.borrow().iter().copied().collect()
    }

    /// Resolves when nothing is waited for.
    pub async fn ready(&self) {
        let mut changes = self.waiting.subscribe();
        // The sender lives as long as self: waiting can't fail.
        let _ = changes.wait_for(BTreeSet::is_empty).await;
    }
}

// === impl Guard ===

impl Drop for Guard {
    fn drop(&mut self) {
        self.waiting.send_modify(|waiting| {
            waiting.remove(self.name);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_the_last_guard_is_dropped() {
        let readiness = Readiness::default();
        let (pods, nodes) = (readiness.guard("pods"), readiness.guard("nodes"));
        drop(pods);
        assert_eq!(readiness.waiting(), ["nodes"]);
        drop(nodes);
        readiness.ready().await;
    }
}
