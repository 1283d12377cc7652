//! Keeps one proxy in its desired state ([`run`]): connects, reconnects, and starts passes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::client::Error;
use crate::desired::Desired;
use crate::inbox::{News, Receiver};
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
    /// The longest pause between two attempts to connect. Default: 1 s, because a new proxy is no endpoint before it is found.
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
            longest_pause: Duration::from_secs(1),
        }
    }
}

/// A driver's side of things, which outlives connections.
struct Driver<A> {
    target: Target,
    inbox: Receiver,
    desired: Desired,
    report: Report,
    answers: A,
    /// The pause before the next connect.
    pause: Duration,
}

/// What ended an idle time.
enum Wake {
    /// The desired state changed, or its sender is gone.
    Posted,
    /// It is time to read everything back.
    Drift,
    /// It is time to look at sessions.
    Sweep,
}

/// Keeps a proxy in the desired state, and passes news of it to `answers`, until the sender of `inbox` is dropped.
///
/// Dropping the future is safe at any moment: the next run reads back what the proxy has. Nothing is removed from the
/// proxy at the end.
pub async fn run(target: Target, inbox: Receiver, answers: impl Fn(Answer) + Send + Sync) {
    let (desired, report) = (Desired { keep_all: true, ..Desired::default() }, Report::default());
    let pause = target.timing.first_pause;
    let mut driver = Driver { target, inbox, desired, report, answers, pause };
    while !driver.inbox.is_closed() {
        let address = driver.target.address;
        match Link::open(address, driver.target.timing.answer).await {
            Ok(mut link) => {
                tracing::info!(proxy = %address, "connected to l7mp proxy");
                (driver.answers)(Answer::Connected);
                let End::Lost(text) = driver.serve(&mut link).await else { return };
                tracing::warn!(proxy = %address, error = text, "lost l7mp proxy");
                driver.report.disconnected();
                (driver.answers)(Answer::Disconnected { text });
            }
            Err(error) => {
                tracing::debug!(proxy = %address, %error, pause = ?driver.pause, "l7mp proxy can't be reached");
            }
        }
        sleep(driver.pause).await;
        driver.pause = (driver.pause * 2).min(driver.target.timing.longest_pause);
    }
}

// === impl Driver ===

impl<A: Fn(Answer) + Send + Sync> Driver<A> {
    /// Serves one connected proxy. The pause before the next connect is the shortest again after a whole pass.
    async fn serve(&mut self, link: &mut Link) -> End {
        let mut drift = Instant::now() + self.target.timing.drift;
        loop {
            self.take(link);
            if let Err(first) = link.pass(&self.desired, &self.answers, &mut self.report).await {
                // The proxy closes a connection that was idle, perhaps just when a request was sent.
                tracing::debug!(proxy = %self.target.address, error = %first, "l7mp pass starts again");
                if let Err(error) = self.resume(link).await {
                    return End::Lost(error.to_string());
                }
            }
            self.pause = self.target.timing.first_pause;
            match self.idle(link, drift).await {
                Ok(Wake::Posted) if self.inbox.is_closed() => return End::Done,
                Ok(Wake::Posted) => {}
                Ok(Wake::Drift) => {
                    link.expire();
                    drift = Instant::now() + self.target.timing.drift;
                }
                Ok(Wake::Sweep) => {
                    if let Err(error) = link.sweep().await {
                        tracing::debug!(proxy = %self.target.address, %error, "l7mp sessions were not looked at");
                    }
                }
                Err(error) => return End::Lost(error.to_string()),
            }
        }
    }

    /// Takes the news of the desired state.
    fn take(&mut self, link: &mut Link) {
        match self.inbox.take() {
            None => {}
            Some(News::Whole(desired)) => {
                self.desired = *desired;
                link.touch_all();
            }
            Some(News::Changes(changes)) => {
                if changes.keep_all.is_some_and(|keep_all| keep_all != self.desired.keep_all) {
                    link.touch_all();
                }
                link.touch(changes.keys());
                self.desired.apply(changes);
            }
        }
    }

    /// Connects again, and makes a pass on what is read back.
    async fn resume(&mut self, link: &mut Link) -> Result<(), Error> {
        link.reconnect().await?;
        link.doubt();
        link.pass(&self.desired, &self.answers, &mut self.report).await
    }

    /// Waits for something to do. A proxy closes idle connections; a new one must lead to the same process.
    async fn idle(&self, link: &mut Link, drift: Instant) -> Result<Wake, Error> {
        loop {
            let sweep = link.sweep_due();
            tokio::select! {
                () = self.inbox.posted() => return Ok(Wake::Posted),
                () = sleep_until(drift) => return Ok(Wake::Drift),
                () = sleep_until(sweep.unwrap_or(drift)), if sweep.is_some() => return Ok(Wake::Sweep),
                () = link.closed() => link.reconnect().await?,
            }
        }
    }
}

#[cfg(test)]
mod tests;
