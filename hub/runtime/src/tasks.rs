//! Named tasks ([`Tasks`]). The process ends with the first task that ends, and its error names that task.

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
    /// A process without tasks. All its tasks end with `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, set: JoinSet::new(), names: HashMap::new() }
    }

    /// Starts a task. The shutdown drops it.
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

    /// Starts a task that has to clean up at the shutdown. It must watch for the shutdown itself; [`Tasks::run`] waits for
    /// it.
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
    /// The error of the task that ended first, with its name; or that a task ended before the shutdown.
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
                    Ok(()) if early => Err(anyhow!("task {name} ended before the shutdown")),
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
    async fn a_task_that_ends_before_the_shutdown_is_an_error() {
        let mut tasks = Tasks::new(Shutdown::default());
        tasks.spawn("short", async { Ok(()) });
        let error = tasks.run().await.unwrap_err();
        assert_eq!(error.to_string(), "task short ended before the shutdown");
    }
}
