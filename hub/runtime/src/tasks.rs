//! Named tasks: the process ends when the first of them does, and says which. A dead task is never overlooked.

use std::collections::HashMap;

use anyhow::{Context, anyhow};
use tokio::task::{Id, JoinSet};

use crate::Shutdown;

/// The tasks of a process.
#[derive(Debug)]
pub struct Tasks {
    shutdown: Shutdown,
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

// === impl Tasks ===

impl Tasks {
    /// No tasks yet; all of them end with `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, set: JoinSet::new(), names: HashMap::new() }
    }

    /// Starts a task that is dropped at the shutdown.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let shutdown = self.shutdown.clone();
        self.spawn_graceful(name, async move {
            tokio::select! {
                outcome = task => outcome,
                () = shutdown.wait() => Ok(()),
            }
        });
    }

    /// Starts a task that has something to put in order at the shutdown, sees it by itself, and is waited for.
    pub fn spawn_graceful(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Runs until the first task ends, then begins the shutdown and waits for the others.
    ///
    /// # Errors
    /// The first task's error under its name; a task that ended though nobody asked for the shutdown.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.set.join_next_with_id().await {
            let (id, result) = match ended {
                Ok((id, result)) => (id, result),
                Err(error) => (error.id(), Err(anyhow!("{error}"))),
            };
            let name = self.names.remove(&id).unwrap_or("unnamed");
            let early = !self.shutdown.begun();
            let result = result.with_context(|| format!("task {name}"));
            if outcome.is_ok() {
                outcome = match result {
                    Ok(()) if early => Err(anyhow!("task {name} ended though nothing asked it to")),
                    other => other,
                };
            }
            self.shutdown.begin();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_tasks_error_ends_all_and_names_it() {
        let mut tasks = Tasks::new(Shutdown::default());
        tasks.spawn("patient", std::future::pending());
        tasks.spawn("broken", async { Err(anyhow!("no luck")) });
        let error = tasks.run().await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task broken: no luck");
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_is_an_error() {
        let mut tasks = Tasks::new(Shutdown::default());
        tasks.spawn("short", async { Ok(()) });
        let error = tasks.run().await.unwrap_err();
        assert_eq!(error.to_string(), "task short ended though nothing asked it to");
    }
}
