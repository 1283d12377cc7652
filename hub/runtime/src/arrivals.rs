//! The events of a watch, and when those that arrived together are complete ([`Arrivals`]).

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

/// The events of a watch.
pub(crate) struct Arrivals<S> {
    events: S,
    /// The shortest time between two pauses, unless the watch fails.
    gather: Duration,
    /// The time of the last pause, and before the first that of the beginning.
    paused: Instant,
    /// An event was returned since then.
    taken: bool,
}

// === impl Arrivals ===

impl<T, E, S: Stream<Item = Result<T, E>> + Unpin> Arrivals<S> {
    /// Creates arrivals that are gathered for so long.
    pub(crate) fn new(events: S, gather: Duration) -> Self {
        Self { events, gather, paused: Instant::now(), taken: false }
    }

    /// Returns the next event. Calls `pause` before, if it is a failure, or if it has not arrived yet and the last pause was
    /// long enough ago. An event after a quiet time is therefore followed by a pause at once, and what follows it is gathered.
    pub(crate) async fn next(&mut self, pause: impl FnOnce()) -> Option<Result<T, E>> {
        let arrived = match self.taken {
            true => timeout_at(self.paused + self.gather, self.events.next()).await.ok(),
            false => Some(self.events.next().await),
        };
        if self.taken && !matches!(arrived, Some(Some(Ok(_)))) {
            pause();
            (self.paused, self.taken) = (Instant::now(), false);
        }
        let event = match arrived {
            Some(event) => event,
            None => self.events.next().await,
        };
        self.taken = matches!(event, Some(Ok(_)));
        event
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// Reads events that arrive at these times, in milliseconds. Returns when each was returned and when there was a pause.
    async fn told(gather: u64, times: &[u64]) -> Vec<String> {
        let begun = Instant::now();
        let arrive = |at: u64| sleep(Duration::from_millis(at).saturating_sub(begun.elapsed()));
        let events = futures::stream::iter(times).then(|at| async move {
            arrive(*at).await;
            Ok::<u64, ()>(*at)
        });
        let mut arrivals = Arrivals::new(Box::pin(events), Duration::from_millis(gather));
        let (mut told, mut paused) = (Vec::new(), Vec::new());
        while let Some(Ok(event)) =
            arrivals.next(|| paused.push(format!("pause at {}", begun.elapsed().as_millis()))).await
        {
            told.append(&mut paused);
            told.push(event.to_string());
        }
        told.append(&mut paused);
        told
    }

    #[tokio::test(start_paused = true)]
    async fn pause_comes_after_what_arrived_together() {
        assert_eq!(told(0, &[9, 9, 9, 12]).await, ["9", "9", "9", "pause at 9", "12", "pause at 12"]);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_after_a_pause_are_gathered() {
        let expected = ["60", "pause at 60", "70", "80", "109", "pause at 110", "300", "pause at 300"];
        assert_eq!(told(50, &[60, 70, 80, 109, 300]).await, expected);
    }
}
