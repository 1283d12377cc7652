//! The stream of reports to one replica: a report immediately after a change, otherwise every half second, and only
//! after the previous report was answered.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use portreeve_api::report_bounds;
use tokio::sync::{mpsc, watch};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;

use super::outbox::Outbox;
use super::stubs::reports_client::ReportsClient;
use super::told::Told;
use crate::replicas::{Replica, Replicas};

/// Maximum interval between two reports. The replica's lease is twice as long.
const EVERY: Duration = Duration::from_millis(500);

/// Timeout of an answer. A hanging replica or a half-open connection is left after this time and [`EVERY`], so within 2
/// s.
const ANSWER: Duration = Duration::from_millis(1400);

/// Maximum timeout of an answer. Repeated connections would make a late hub even later.
const LONGEST_ANSWER: Duration = Duration::from_secs(12);

/// Timeout of a connection attempt, including the TLS handshake.
const CONNECT: Duration = Duration::from_secs(2);

/// A connection attempt that fails sooner was refused, which says nothing about the replica's lateness.
const REFUSED: Duration = Duration::from_millis(900);

/// Maximum factor for the timeout of connections. The replica itself allows 5 s for a handshake.
const LONGEST_CONNECT: u32 = 4;

/// First and longest pause before the next connection attempt.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Sends the reports of this agent.
#[derive(Clone)]
pub struct Reporter {
    /// This node's name.
    pub node: String,
    /// The state to report.
    pub outbox: watch::Sender<Outbox>,
    /// Gets each answer's time.
    pub replicas: Replicas,
}

/// The timeout of an answer. It doubles after each missing answer, and shrinks again after quick ones.
struct Patience(Duration);

// === impl Reporter ===

impl Reporter {
    /// Reports to one replica and never returns.
    pub async fn attend(self, replica: Replica) {
        let (mut wait, mut said) = (FIRST_WAIT, String::new());
        let mut patience = Patience(ANSWER);
        loop {
            let mut answered = false;
            let ended = self.stream(&replica, &mut answered, &mut patience).await;
            self.replicas.lost(&replica);
            if answered {
                (wait, said) = (FIRST_WAIT, String::new());
            }
            if let Err(error) = ended {
                let words = format!("{error:#}");
                // The same error is logged only once.
                if words != said {
                    tracing::warn!(hub = %replica, error = words, "no reports to this hub");
                }
                said = words;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Runs one stream until it ends. The first beat sets `answered`.
    async fn stream(
        &self,
        replica: &Replica,
        answered: &mut bool,
        patience: &mut Patience,
    ) -> anyhow::Result<()> {
        self.replicas.be_patient(replica, patience.factor());
        let connection = patience.connection(self.replicas.connection(replica)).await?;
        let mut client =
            ReportsClient::new(connection.channel()).max_decoding_message_size(report_bounds::BEAT);
        let mut outbox = self.outbox.subscribe();
        let mut told = Told::new(&self.node);
        let (reports, outbound) = mpsc::channel(1);
        let mut request = tonic::Request::new(ReceiverStream::new(outbound));
        *request.metadata_mut() = MetadataMap::from_headers(self.replicas.headers());
        let first = told.next(&outbox.borrow_and_update());
        reports.send(first).await?;
        let mut beats =
            patience.answer(client.attach(request)).await.context("it does not answer")??.into_inner();
        loop {
            let sent = tokio::time::Instant::now();
            let beat = patience.answer(beats.message()).await.context("it does not answer any more")??;
            let Some(beat) = beat else { bail!("it closed the stream") };
            *answered = true;
            self.replicas.be_patient(replica, patience.factor());
            self.replicas.heard(replica, Instant::now());
            self.outbox.send_if_modified(|outbox| outbox.heard_of(beat.epoch_seen, Instant::now()));
            tokio::select! {
                changed = outbox.changed() => changed?,
                () = tokio::time::sleep_until(sent + EVERY) => {}
                () = std::future::ready(()), if told.is_behind() => {}
            }
            let next = told.next(&outbox.borrow_and_update());
            reports.send(next).await?;
        }
    }
}

// === impl Patience ===

impl Patience {
    /// Returns the factor for the timeout of connections.
    fn factor(&self) -> u32 {
        let times = self.0.as_millis() / ANSWER.as_millis();
        u32::try_from(times).unwrap_or(LONGEST_CONNECT).clamp(1, LONGEST_CONNECT)
    }

    async fn connection<C>(&mut self, connect: impl Future<Output = anyhow::Result<C>>) -> anyhow::Result<C> {
        let begun = tokio::time::Instant::now();
        let connected = timeout(CONNECT * self.factor(), connect).await;
        let connected = connected.context("it can't be reached").flatten();
        if connected.is_err() && begun.elapsed() >= REFUSED {
            self.0 = LONGEST_ANSWER.min(self.0 * 2);
        }
        connected
    }

    async fn answer<R>(&mut self, answer: impl Future<Output = R>) -> Result<R, Elapsed> {
        let begun = tokio::time::Instant::now();
        let answered = timeout(self.0, answer).await;
        self.0 = match &answered {
            Err(_) => LONGEST_ANSWER.min(self.0 * 2),
            Ok(_) if begun.elapsed() < ANSWER / 4 => ANSWER.max(self.0 / 2),
            Ok(_) => self.0,
        };
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn hub_that_is_late_is_waited_for_longer_and_one_that_hangs_is_noticed_in_time_again() {
        let mut patience = Patience(ANSWER);
        let mut waited = Vec::new();
        for _ in 0..6 {
            let begun = tokio::time::Instant::now();
            assert!(patience.answer(std::future::pending::<()>()).await.is_err());
            waited.push(begun.elapsed().as_millis());
        }
        assert_eq!(waited[..4], [1_400, 2_800, 5_600, 11_200]);
        assert_eq!(waited[4..], [12_000, 12_000]);
        assert!(patience.answer(tokio::time::sleep(Duration::from_secs(10))).await.is_ok());
        assert_eq!(patience.0, LONGEST_ANSWER, "slow answers are answers, no more");
        for _ in 0..4 {
            patience.answer(std::future::ready(())).await.unwrap();
        }
        assert_eq!(patience.0, ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_times_out_is_waited_for_longer_next_time_and_a_refused_one_is_not() {
        let mut patience = Patience(ANSWER);
        let mut waited = Vec::new();
        for _ in 0..4 {
            let begun = tokio::time::Instant::now();
            let never = std::future::pending::<anyhow::Result<()>>();
            assert!(patience.connection(never).await.is_err());
            waited.push(begun.elapsed().as_secs());
        }
        assert_eq!(waited, [2, 4, 8, 8]);
        let mut patience = Patience(ANSWER);
        for _ in 0..4 {
            let refused = std::future::ready(Err::<(), _>(anyhow::anyhow!("connection refused")));
            assert!(patience.connection(refused).await.is_err());
        }
        assert_eq!(patience.factor(), 1);
    }
}
