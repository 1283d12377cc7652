//! Readiness as dropped guards ([`Readiness`]): the process is ready when every task has dropped its guard.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The tasks that are not ready yet. Clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    waiting: Arc<watch::Sender<Waiting>>,
}

/// How many guards there are of each name.
type Waiting = BTreeMap<&'static str, usize>;

/// Held by a task until it is ready.
#[derive(Debug)]
pub struct Guard {
    name: &'static str,
    waiting: Arc<watch::Sender<Waiting>>,
}

// === impl Readiness ===

impl Default for Readiness {
    fn default() -> Self {
        Self { waiting: Arc::new(watch::Sender::new(Waiting::new())) }
    }
}

impl Readiness {
    /// Returns a guard. The process is not ready until it is dropped, and every other guard of that name. `name` is shown to
    /// people as what is waited for.
    pub fn guard(&self, name: &'static str) -> Guard {
        self.waiting.send_modify(|waiting| *waiting.entry(name).or_default() += 1);
        Guard { name, waiting: self.waiting.clone() }
    }

    /// Returns the names of all guards, sorted. The process is ready if there are none.
    pub fn waiting(&self) -> Vec<&'static str> {
        self.waiting.borrow().keys().copied().collect()
    }

    /// Waits until no guard is left.
    pub async fn ready(&self) {
        let mut changes = self.waiting.subscribe();
        // It can't fail: the sender lives as long as self.
        let _ = changes.wait_for(BTreeMap::is_empty).await;
    }
}

// === impl Guard ===

impl Drop for Guard {
    fn drop(&mut self) {
        self.waiting.send_modify(|waiting| {
            let left = waiting.get(self.name).map_or(0, |count| count - 1);
            match left {
                0 => waiting.remove(self.name),
                _ => waiting.insert(self.name, left),
            };
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

    #[tokio::test]
    async fn one_name_is_waited_for_until_all_its_guards_are_dropped() {
        let readiness = Readiness::default();
        let (one, other) = (readiness.guard("pods"), readiness.guard("pods"));
        drop(one);
        assert_eq!(readiness.waiting(), ["pods"]);
        drop(other);
        readiness.ready().await;
    }
}
