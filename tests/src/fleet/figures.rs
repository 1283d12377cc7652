//! The results of a simulation: one row of a table for each scenario ([`Row`]).

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::jiff::Timestamp;

use super::site::Site;
use crate::process::Usage;

/// The counters of a simulation at one time.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    usage: Usage,
    bytes: u64,
    received: u64,
    pushed: f64,
    writes: u64,
}

/// The result of a scenario.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario.
    pub name: &'static str,
    /// Number of events that the API server sent.
    pub events: usize,
    /// The time of each change to the last agent that it concerns, sorted.
    pub times: Vec<Duration>,
    /// CPU time of the hub.
    pub cpu: Duration,
    /// Resident memory of the hub at the end, in KiB.
    pub resident: u64,
    /// Peak of the hub's resident memory during the scenario, in KiB.
    pub peak: u64,
    /// Size of the resources that the concerned agents received, in bytes for each of them.
    pub bytes: u64,
    /// Number of resources that all agents received.
    pub received: u64,
    /// Number of resources that the hub published.
    pub pushed: f64,
    /// Number of status writes.
    pub writes: u64,
    /// Other results.
    pub note: String,
}

/// The table's head.
pub const HEAD: &str = "\
| scenario | events | p50 ms | p99 ms | max ms | hub CPU s | CPU per event µs | RSS MiB | peak MiB | bytes per agent | received | pushed | writes | note |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

// === impl Counters ===

impl Counters {
    /// Returns the present counters, and sets the peak of the hub's memory back.
    ///
    /// # Errors
    /// Returns an error if the hub doesn't answer.
    pub async fn of(site: &Site) -> Result<Self> {
        let counters = Self::read(site).await?;
        // Only the superuser and the owner may; the peak is that of the whole run otherwise.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", site.hub.pid()), "5");
        Ok(counters)
    }

    /// Returns the counters of a hub that was started now.
    #[must_use]
    pub fn of_new_hub(self) -> Self {
        let usage = Usage { resident: 0, peak: 0, cpu: Duration::ZERO };
        Self { usage, pushed: 0.0, ..self }
    }

    /// Returns the counters before the hub's start.
    pub fn zero() -> Self {
        let usage = Usage { resident: 0, peak: 0, cpu: Duration::ZERO };
        Self { usage, bytes: 0, received: 0, pushed: 0.0, writes: 0 }
    }

    /// Returns the row of a scenario that begun with these counters.
    ///
    /// # Errors
    /// Returns an error if the hub doesn't answer.
    pub async fn until_now(self, site: &Site, name: &'static str, events: usize) -> Result<Row> {
        let now = Self::read(site).await?;
        Ok(Row {
            name,
            events,
            times: site.ledger.take_done(),
            cpu: now.usage.cpu.saturating_sub(self.usage.cpu),
            resident: now.usage.resident,
            peak: now.usage.peak,
            bytes: (now.bytes - self.bytes) / site.concerned.max(1) as u64,
            received: now.received - self.received,
            pushed: now.pushed - self.pushed,
            writes: now.writes - self.writes,
            note: String::new(),
        })
    }

    async fn read(site: &Site) -> Result<Self> {
        let holdings = site.ledger.holdings();
        Ok(Self {
            usage: site.hub.usage()?,
            bytes: holdings.iter().map(|one| one.bytes).sum(),
            received: holdings.iter().map(|one| one.received).sum(),
            pushed: site.metric("portreeve_hub_published_resources_total").await?,
            writes: site.source.store.writes(),
        })
    }
}

// === impl Row ===

impl Row {
    /// Returns the row with a note.
    #[must_use]
    pub fn noted(self, note: String) -> Self {
        Self { note, ..self }
    }

    /// Returns the row of a scenario that is one change.
    #[must_use]
    pub fn took(self, time: Duration) -> Self {
        Self { times: vec![time], ..self }
    }

    /// Returns the row as a line of a table.
    pub fn line(&self) -> String {
        let ms = |of| {
            percentile(&self.times, of)
                .map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e3))
        };
        let each = self.cpu.as_secs_f64() * 1e6 / self.events.max(1) as f64;
        format!(
            "| {} | {} | {} | {} | {} | {:.2} | {each:.0} | {} | {} | {} | {} | {} | {} | {} |",
            self.name,
            self.events,
            ms(50),
            ms(99),
            ms(100),
            self.cpu.as_secs_f64(),
            self.resident / 1024,
            self.peak / 1024,
            self.bytes,
            self.received,
            self.pushed,
            self.writes,
            self.note
        )
    }
}

/// Returns a percentile of sorted times.
pub fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (times.len() * percent).div_ceil(100);
    times.get(rank.max(1) - 1).copied()
}

/// Describes sorted times: `p50 1 ms, p99 2 ms, max 3 ms`.
pub fn describe(times: &[Duration]) -> String {
    let of = |percent| percentile(times, percent).unwrap_or_default().as_millis();
    format!("p50 {} ms, p99 {} ms, max {} ms", of(50), of(99), of(100))
}

/// Returns the machine, the date and the command.
pub fn circumstances() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let words: Vec<String> = std::env::args().skip(1).collect();
    let date = Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    format!("{cores} cores, {} MiB, {date}: {}", kib.unwrap_or_default() / 1024, words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_times() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        for (percent, ms) in [(50, 100), (99, 198), (100, 200), (0, 1)] {
            assert_eq!(percentile(&times, percent), Some(Duration::from_millis(ms)));
        }
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(describe(&times), "p50 100 ms, p99 198 ms, max 200 ms");
    }
}
