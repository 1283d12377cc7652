//! Readiness as dropped guards ([`Readiness`]): the process is ready when every task has dropped its guard.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// The tasks that are not ready yet. Clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    waiting: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

/// Held by a task until it is ready.
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
    /// Returns a guard. The process is not ready until it is dropped. `name` is shown to people as what is waited for.
    pub fn guard(&self, name: &'static str) -> Guard {
        self.waiting.send_modify(|waiting| {
            waiting.insert(name);
        });
        Guard { name, waiting: self.waiting.clone() }
    }

    /// Returns the names of all guards, sorted. The process is ready if there are none.
    pub fn waiting(&self) -> Vec<&'static str> {
        self.waiting.borrow().iter().copied().collect()
    }

    /// Waits until no guard is left.
    pub async fn ready(&self) {
        let mut changes = self.waiting.subscribe();
        // It can't fail: the sender lives as long as self.
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
