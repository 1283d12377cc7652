//! When a stream may take further changes ([`Pace`]).
//!
//! A change that many streams want costs more than the change itself: each stream encodes a response, writes it and reads its
//! answer. Without a pace, each change is sent by itself however many there are, and whoever makes the changes waits behind
//! all streams. All streams of a server together may take about half of a processor. A stream that is ahead of its share waits,
//! and what changes meanwhile is one response.

use std::time::{Duration, Instant};

/// The CPU time of a response with its answer (measured: 28 µs with a resource of 1.6 kB, on 500 streams).
const RESPONSE: Duration = Duration::from_micros(30);

/// All streams may together take one processor, divided by this.
const PART: u32 = 2;

/// Bytes of a response that cost a microsecond more.
const BYTES_PER_MICRO: u64 = 1500;

/// How far a stream may be ahead of its share. Single changes are never delayed.
const AHEAD: Duration = Duration::from_millis(10);

/// The longest wait of a stream.
const LONGEST: Duration = Duration::from_secs(3);

/// The pace of one stream: a leaky bucket, in time.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the stream is within its share again, if nothing more is sent.
    settled: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    /// Records a response of this length. `streams` share the processor.
    pub(crate) fn sent(&mut self, bytes: usize, streams: usize, now: Instant) {
        let cost = RESPONSE + Duration::from_micros(bytes as u64 / BYTES_PER_MICRO);
        let share = cost.saturating_mul(u32::try_from(streams).unwrap_or(u32::MAX).saturating_mul(PART));
        let most = AHEAD + LONGEST;
        let settled = self.settled.map_or(now, |at| at.max(now)) + share.min(most);
        self.settled = Some(settled.min(now + most));
    }

    /// Returns until when the stream must not take changes; `None` if it may.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        let until = self.settled?.checked_sub(AHEAD)?;
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends whenever it is allowed, for ten seconds. Returns the number of responses.
    fn sent_in_ten_seconds(bytes: usize, streams: usize) -> u32 {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        let (mut now, mut sent) = (begun, 0);
        while now < begun + Duration::from_secs(10) {
            pace.sent(bytes, streams, now);
            sent += 1;
            now = pace.until(now).unwrap_or(now);
        }
        sent
    }

    #[test]
    fn all_streams_together_take_half_of_a_processor() {
        for (bytes, streams, each) in [(0, 1, 30), (0, 500, 30), (150_000, 10, 130), (1_500_000, 100, 1_030)]
        {
            let sent = sent_in_ten_seconds(bytes, streams);
            let processors = f64::from(sent) * streams as f64 * f64::from(each) / 1e7;
            assert!((0.48..0.56).contains(&processors), "{bytes} bytes, {streams} streams: {processors}");
        }
    }

    #[test]
    fn single_changes_of_small_fleets_are_never_delayed() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..1000 {
            pace.sent(6_400, 50, now);
            assert_eq!(pace.until(now), None);
            now += Duration::from_millis(4);
        }
    }

    #[test]
    fn wait_has_a_limit() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..3 {
            pace.sent(usize::MAX, usize::MAX, now);
            let until = pace.until(now).unwrap();
            assert!(until > now + LONGEST / 2 && until <= now + LONGEST);
        }
        assert_eq!(pace.until(now + LONGEST), None);
    }
}
