//! The task that makes probes. Entry point: [`run`].

use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use portreeve_agent_core::health::{Job, Outcome, Schedule, Target, Verdict};
use portreeve_runtime::now_ms;

use crate::local::Local;
use crate::replicas::Replicas;

mod probe;

pub use probe::{Sockets, probe};

/// Maximum number of concurrent probes. With the default timeout of 100 ms, that allows 2,500 per second even if none
/// is answered.
const LIMIT: usize = 256;

struct Prober {
    local: Arc<Local>,
    schedule: Schedule,
    running: FuturesUnordered<BoxFuture<'static, (Job, Outcome)>>,
    sockets: Sockets,
    /// Why this host couldn't probe at the last attempt.
    hampered: Option<String>,
}

/// Makes all due probes and records their results. Never returns.
///
/// # Errors
/// Never returns an error.
pub async fn run(local: Arc<Local>) -> anyhow::Result<()> {
    let mut changes = local.health.target_changes();
    let schedule = Schedule::new(LIMIT);
    let (running, sockets) = (FuturesUnordered::new(), Sockets::default());
    let mut prober = Prober { local, schedule, running, sockets, hampered: None };
    prober.follow();
    loop {
        let wake = prober.start();
        tokio::select! {
            Ok(()) = changes.changed() => prober.follow(),
            Some(done) = prober.running.next() => prober.settle(done),
            () = until(wake) => {}
        }
    }
}

/// Maintains the lease of the replica that feeds this agent: its data on other nodes is as fresh as its last answer.
///
/// # Errors
/// No error is expected, because the replicas live as long as the agent.
pub async fn follow_hub(local: Arc<Local>, replicas: Replicas) -> anyhow::Result<()> {
    let mut answers = replicas.heard_at();
    loop {
        if let Some(at) = replicas.feed_heard() {
            local.hub_heard(at);
        }
        answers.changed().await?;
    }
}

// === impl Prober ===

impl Prober {
    fn follow(&mut self) {
        let wanted = self.local.change(|world| world.health_targets());
        self.schedule.set(&wanted, Instant::now());
    }

    /// Starts the due probes, and ends the hub's lease if it has expired. Returns the time of the next action.
    fn start(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while let Some(job) = self.schedule.take(now) {
            self.running.push(Box::pin(probe(job, self.sockets.clone())));
        }
        let lease = || self.local.read(|world| world.health().lease_deadline());
        if lease().is_some_and(|until| until <= now) {
            self.local.change(|world| world.lease_over(now));
        }
        [self.schedule.next(), lease()].into_iter().flatten().min()
    }

    /// Records a result, and all others that are available.
    fn settle(&mut self, first: (Job, Outcome)) {
        let mut news = Vec::new();
        let mut next = Some(first);
        while let Some((job, outcome)) = next {
            self.mind(&outcome);
            self.local.health.probed(&outcome);
            let verdict = self.schedule.finish(&job, &outcome, Instant::now(), now_ms());
            if let Some(verdict) = verdict {
                tell(&job.target, &verdict);
                news.push((job.target, verdict));
            }
            next = futures::FutureExt::now_or_never(self.running.next()).flatten();
        }
        if !news.is_empty() {
            self.local.change(|world| world.set_verdicts(news));
        }
    }

    /// Logs once when this host can't probe, and once when it can again.
    fn mind(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Hampered(error) if self.hampered.as_ref() != Some(error) => {
                tracing::error!(error, "this node can't probe: the last verdicts stay in use");
                self.hampered = Some(error.clone());
            }
            Outcome::Up if self.hampered.take().is_some() => tracing::info!("this node can probe again"),
            _ => {}
        }
    }
}

fn tell(target: &Target, verdict: &Verdict) {
    match verdict {
        Verdict::Up => tracing::debug!(%target, "healthy"),
        Verdict::Failing => tracing::debug!(%target, "a probe failed"),
        Verdict::Unknown => {
            tracing::debug!(%target, "this node can't probe it: other nodes probe it instead")
        }
        Verdict::Down(failure) => tracing::warn!(%target, error = &*failure.reason, "not healthy"),
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
