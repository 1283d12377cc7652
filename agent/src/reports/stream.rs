//! One replica's stream of reports: a report at once when there is news, one every half second anyway, and never a second
//! one before the first is answered.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use portreeve_api::report_bounds;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;

use super::outbox::Outbox;
use super::stubs::reports_client::ReportsClient;
use super::told::Told;
use crate::replicas::{Replica, Replicas};

/// A report is sent at least this often. The replica's lease lasts twice as long.
const EVERY: Duration = Duration::from_millis(500);

/// How long a replica has to answer. A hung one, or a half-open link, is left after this and [`EVERY`]: within 2 s.
const ANSWER: Duration = Duration::from_millis(1400);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// First and longest pause before connecting again.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Who reports, and where what is to be reported is found.
#[derive(Clone)]
pub struct Reporter {
    /// This node's name.
    pub node: String,
    /// What there is to report.
    pub outbox: watch::Sender<Outbox>,
    /// Told of every answer.
    pub replicas: Replicas,
}

// === impl Reporter ===

impl Reporter {
    /// Reports to one replica, for ever.
    pub async fn attend(self, replica: Replica) {
        let (mut wait, mut said) = (FIRST_WAIT, String::new());
        loop {
            let mut answered = false;
            let ended = self.stream(&replica, &mut answered).await;
            self.replicas.lost(&replica);
            if answered {
                (wait, said) = (FIRST_WAIT, String::new());
            }
            if let Err(error) = ended {
                let words = format!("{error:#}");
                // Once: it is tried again and again.
                if words != said {
                    tracing::warn!(hub = %replica, error = words, "no reports to this hub");
                }
                said = words;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One stream to its end; `answered` is set by the first beat.
    async fn stream(&self, replica: &Replica, answered: &mut bool) -> anyhow::Result<()> {
        let channel =
            timeout(CONNECT, self.replicas.channel(replica)).await.context("it can't be reached")??;
        let mut client = ReportsClient::new(channel).max_decoding_message_size(report_bounds::BEAT);
        let mut outbox = self.outbox.subscribe();
        let mut told = Told::new(&self.node);
        let (reports, outbound) = mpsc::channel(1);
        let mut request = tonic::Request::new(ReceiverStream::new(outbound));
        *request.metadata_mut() = MetadataMap::from_headers(self.replicas.headers());
        let first = told.next(&outbox.borrow_and_update());
        reports.send(first).await?;
        let mut beats =
            timeout(ANSWER, client.attach(request)).await.context("it does not answer")??.into_inner();
        loop {
            let sent = tokio::time::Instant::now();
            let beat = timeout(ANSWER, beats.message()).await.context("it does not answer any more")??;
            let Some(beat) = beat else { bail!("it hung up") };
            *answered = true;
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
