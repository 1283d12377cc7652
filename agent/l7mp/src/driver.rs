//! Keeps one proxy in its desired state ([`run`]): connects, reconnects, and starts passes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::Error;
use crate::desired::Desired;
use crate::link::Link;
use crate::report::{Answer, Report};

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address of its REST API.
    pub address: SocketAddr,
    /// Intervals and timeouts.
    pub timing: Timing,
}

/// Intervals and timeouts for a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The timeout of a connect and of a request. Default: 10 s.
    pub answer: Duration,
    /// The interval of reading everything back, which finds changes by others. Default: 30 s.
    pub drift: Duration,
    /// The first pause between two attempts to connect; each doubles it. Default: 50 ms.
    pub first_pause: Duration,
    /// The longest pause between two attempts to connect. Default: 5 s.
    pub longest_pause: Duration,
}

/// Why a connection is no longer served.
enum End {
    /// The sender of the desired state is gone.
    Done,
    /// The proxy can't be reached, or lost its objects.
    Lost(String),
}

// === impl Timing ===

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            drift: Duration::from_secs(30),
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
        }
    }
}

/// Keeps a proxy in the desired state, and passes news of it to `answers`, until the sender of `desired` is dropped.
///
/// Dropping the future is safe at any moment: the next run reads back what the proxy has. Nothing is removed from the
/// proxy at the end.
pub async fn run(
    target: Target,
    mut desired: watch::Receiver<Arc<Desired>>,
    answers: impl Fn(Answer) + Send + Sync,
) {
    let Timing { first_pause, longest_pause, .. } = target.timing;
    let (mut report, mut pause) = (Report::default(), first_pause);
    while desired.has_changed().is_ok() {
        match Link::open(target.address, target.timing.answer).await {
            Ok(mut link) => {
                tracing::info!(proxy = %target.address, "connected to l7mp proxy");
                answers(Answer::Connected);
                let end =
                    serve(&mut link, &target, (&mut desired, &mut pause), (&mut report, &answers)).await;
                let End::Lost(text) = end else { return };
                tracing::warn!(proxy = %target.address, error = text, "lost l7mp proxy");
                report.disconnected();
                answers(Answer::Disconnected { text });
            }
            Err(error) => {
                tracing::debug!(proxy = %target.address, %error, ?pause, "l7mp proxy can't be reached");
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(longest_pause);
    }
}

/// Serves one connected proxy. The pause before the next connect is the shortest again after a whole pass.
async fn serve(
    link: &mut Link,
    target: &Target,
    (desired, pause): (&mut watch::Receiver<Arc<Desired>>, &mut Duration),
    (report, answers): (&mut Report, &(impl Fn(Answer) + Send + Sync)),
) -> End {
    let mut drift = Instant::now() + target.timing.drift;
    loop {
        let newest = desired.borrow_and_update().clone();
        if let Err(first) = link.pass(&newest, answers, report).await {
            // The proxy closes a connection that was idle, perhaps just when a request was sent.
            tracing::debug!(proxy = %target.address, error = %first, "l7mp pass starts again");
            if let Err(error) = resume(link, &newest, answers, report).await {
                return End::Lost(error.to_string());
            }
        }
        *pause = target.timing.first_pause;
        match idle(link, desired, drift).await {
            Ok(Wake::Changed) => {}
            Ok(Wake::Drift) => {
                link.expire();
                drift = Instant::now() + target.timing.drift;
            }
            Ok(Wake::Done) => return End::Done,
            Err(error) => return End::Lost(error.to_string()),
        }
    }
}

/// Connects again, and makes a pass on what is read back.
async fn resume(
    link: &mut Link,
    desired: &Desired,
    answers: &(impl Fn(Answer) + Send + Sync),
    report: &mut Report,
) -> Result<(), Error> {
    link.reconnect().await?;
    link.doubt();
    link.pass(desired, answers, report).await
}

/// What ended an idle time.
enum Wake {
    /// The desired state changed.
    Changed,
    /// It is time to read everything back.
    Drift,
    /// The sender of the desired state is gone.
    Done,
}

/// Waits for something to do. A proxy closes idle connections; a new one must lead to the same process.
async fn idle(
    link: &mut Link,
    desired: &mut watch::Receiver<Arc<Desired>>,
    drift: Instant,
) -> Result<Wake, Error> {
    loop {
        tokio::select! {
            changed = desired.changed() => {
                return Ok(if changed.is_ok() { Wake::Changed } else { Wake::Done });
            }
            () = sleep_until(drift) => return Ok(Wake::Drift),
            () = link.closed() => link.reconnect().await?,
        }
    }
}

#[cfg(test)]
mod tests;
