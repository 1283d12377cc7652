//! What a process tells Prometheus ([`Metrics`]): families of samples ([`Family`]) that are taken when it asks, so that
//! nothing is counted for it on a hot path; and of every process its build, memory, processor time and files. What is
//! counted as it happens is a [`Histogram`].
//!
//! Written by prometheus-client, in the OpenMetrics text format.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::watch;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

pub use crate::histogram::Histogram;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a family's values may fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They may.
    Gauge,
    /// They count since the process started; `_total` is written behind the name.
    Counter,
    /// They are distributions.
    Histogram,
    /// Nobody says: the name is written as it is.
    Unknown,
}

/// Samples under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name, with its unit and without `_total`.
    pub name: Cow<'static, str>,
    /// What it is, for a person.
    pub help: Cow<'static, str>,
    /// Gauge, counter or histogram.
    pub kind: Kind,
    /// Each with its labels.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values, in the order in which they are written.
    pub labels: Vec<(Cow<'static, str>, String)>,
    /// The value.
    pub value: Value,
}

/// What a sample says, in the unit of the family's name.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a gauge, a counter, or what nobody knows.
    Number(f64),
    /// Of a histogram.
    Distribution(Histogram),
}

/// How long an answer waits for a look at the state. Then it has what the last look found.
const PATIENCE: Duration = Duration::from_millis(500);

/// All that a process has to tell.
#[derive(Clone)]
pub struct Metrics {
    component: &'static str,
    state: Arc<Looks>,
    ask: Arc<dyn Fn() -> BoxFuture<'static, Vec<Family>> + Send + Sync>,
}

/// The families of one answer.
#[derive(Debug)]
struct Taken(Vec<Family>);

/// Looks at a process's state. They may wait for its lock: on a thread of their own, one at a time.
struct Looks {
    look: Box<dyn Fn() -> Vec<Family> + Send + Sync>,
    looking: AtomicBool,
    /// What the last look found, and when.
    found: watch::Sender<Option<(Instant, Vec<Family>)>>,
}

/// A look that has begun; when it is dropped, the next one may.
struct Looking(Arc<Looks>);

// === impl Family ===

impl Family {
    /// A family without samples yet.
    pub fn new(kind: Kind, name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), help: help.into(), kind, samples: Vec::new() }
    }

    /// A gauge without samples yet.
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Gauge, name, help)
    }

    /// A counter without samples yet.
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Counter, name, help)
    }

    /// A histogram with its only distribution.
    pub fn histogram(name: &'static str, help: &'static str, distribution: Histogram) -> Self {
        let mut family = Self::new(Kind::Histogram, name, help);
        family.samples.push(Sample { labels: Vec::new(), value: Value::Distribution(distribution) });
        family
    }

    /// With its only value.
    #[must_use]
    pub fn value(self, value: f64) -> Self {
        self.sample(Vec::new(), value)
    }

    /// With a value under one label.
    #[must_use]
    pub fn with(self, label: &'static str, name: impl Into<String>, value: f64) -> Self {
        self.sample(vec![(label.into(), name.into())], value)
    }

    /// With one value for each entry, under one label.
    #[must_use]
    pub fn each<N: Into<String>>(self, label: &'static str, all: impl IntoIterator<Item = (N, f64)>) -> Self {
        all.into_iter().fold(self, |family, (name, value)| family.with(label, name, value))
    }

    /// With a value under these labels.
    #[must_use]
    pub fn sample(mut self, labels: Vec<(Cow<'static, str>, String)>, value: f64) -> Self {
        self.samples.push(Sample { labels, value: Value::Number(value) });
        self
    }
}

// === impl Metrics ===

impl Metrics {
    /// What `look` finds each time, and the process's own part; `component` names the program.
    pub fn new(component: &'static str, look: impl Fn() -> Vec<Family> + Send + Sync + 'static) -> Self {
        let nobody = || -> BoxFuture<'static, Vec<Family>> { Box::pin(async { Vec::new() }) };
        let state =
            Looks { look: Box::new(look), looking: AtomicBool::new(false), found: watch::Sender::new(None) };
        Self { component, state: Arc::new(state), ask: Arc::new(nobody) }
    }

    /// With what others answer each time, behind the rest: `ask` bounds how long it waits for them.
    #[must_use]
    pub fn asking(self, ask: impl Fn() -> BoxFuture<'static, Vec<Family>> + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(ask), ..self }
    }

    /// All of it, in [`CONTENT_TYPE`]. While something holds the state for longer than half a second, its samples are as the
    /// last look found them; `portreeve_metrics_age_seconds` says how long ago that was.
    ///
    /// # Errors
    /// A family can't be written.
    pub async fn text(&self) -> Result<String, fmt::Error> {
        // Others are asked first: what is said of having asked them is in this answer.
        let answered = (self.ask)().await;
        let labels = [("component", self.component), ("version", env!("CARGO_PKG_VERSION"))];
        let labels = labels.map(|(name, value)| (name.into(), value.to_owned()));
        let mut all = vec![
            Family::gauge("portreeve_build_info", "Which program of which version this is")
                .sample(labels.into(), 1.0),
        ];
        all.extend(process());
        all.extend(self.state.newest().await);
        all.extend(answered);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Taken(all)));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

// === impl Looks ===

impl Looks {
    /// What a look finds now, or, where that takes too long, what the last one found.
    async fn newest(self: &Arc<Self>) -> Vec<Family> {
        let mut found = self.found.subscribe();
        if !self.looking.swap(true, Ordering::AcqRel) {
            let looking = Looking(self.clone());
            tokio::task::spawn_blocking(move || {
                let families = (looking.0.look)();
                // Before the news: whoever is woken by it and asks again must find the place free.
                let looks = looking.0.clone();
                drop(looking);
                looks.found.send_replace(Some((Instant::now(), families)));
            });
        }
        // In vain: then the last one counts.
        let _ = tokio::time::timeout(PATIENCE, found.changed()).await;
        let (at, mut families) = found.borrow().clone().unwrap_or((Instant::now(), Vec::new()));
        let age = Family::gauge(
            "portreeve_metrics_age_seconds",
            "How old the samples of the process's state are: it rises while one long change holds the state",
        );
        families.push(age.value(at.elapsed().as_secs_f64()));
        families
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.looking.store(false, Ordering::Release);
    }
}

/// What this process uses, under the names that Prometheus gives to it everywhere.
fn process() -> Vec<Family> {
    let all = crate::process::look(std::process::id(), |found| {
        let started = found.start_time() as f64;
        let mut all = vec![
            Family::gauge("process_resident_memory_bytes", "Resident memory").value(found.memory() as f64),
            Family::gauge("process_start_time_seconds", "When it started, since 1970").value(started),
            Family::counter("process_cpu_seconds", "Time on a processor")
                .value(found.accumulated_cpu_time() as f64 / 1000.0),
        ];
        let open = |open| Family::gauge("process_open_fds", "Open files").value(open as f64);
        all.extend(found.open_files().map(open));
        all
    });
    all.unwrap_or_default()
}

// === impl Taken ===

impl Collector for Taken {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
                Kind::Unknown => MetricType::Unknown,
            };
            let mut metric = encoder.encode_descriptor(&family.name, &family.help, None, kind)?;
            for Sample { labels, value } in &family.samples {
                match labels.is_empty() {
                    true => write(&mut metric, family.kind, value)?,
                    false => write(&mut metric.encode_family(labels)?, family.kind, value)?,
                }
            }
        }
        Ok(())
    }
}

fn write(metric: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    match value {
        Value::Number(value) if kind == Kind::Counter => {
            metric.encode_counter::<NoLabelSet, _, f64>(value, None)
        }
        Value::Number(value) => metric.encode_gauge(value),
        Value::Distribution(found) => {
            metric.encode_histogram::<NoLabelSet>(found.sum(), found.count(), &found.buckets(), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn families_are_taken_anew_each_time_and_written_with_their_labels() {
        let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counter = asked.clone();
        let metrics = Metrics::new("test", move || {
            let times = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            vec![
                Family::counter("asked", "How often").value(f64::from(times)),
                Family::gauge("colours", "Some of them").each("name", [("red", 1.0), ("bl\"ue", 2.5)]),
                Family::gauge("nothing", "None of it"),
            ]
        });
        let metrics = metrics.asking(|| {
            let spent = Histogram::new(&[0.5, 1.0]).with(0.7);
            let odd = Family::new(Kind::Unknown, format!("odd_{}", "name"), "What somebody else counts");
            Box::pin(async { vec![odd.value(3.0), Family::histogram("spent_seconds", "Time", spent)] })
        });
        metrics.text().await.unwrap();
        let text = metrics.text().await.unwrap();
        for line in [
            "# TYPE asked counter",
            "asked_total 2.0",
            "colours{name=\"red\"} 1.0",
            "colours{name=\"bl\\\"ue\"} 2.5",
            "portreeve_build_info{component=\"test\",version=\"0.1.0\"} 1.0",
            "# TYPE process_cpu_seconds counter",
            "# TYPE odd_name unknown",
            "odd_name 3.0",
            "# TYPE spent_seconds histogram",
            "spent_seconds_sum 0.7",
            "spent_seconds_count 1",
            "spent_seconds_bucket{le=\"0.5\"} 0",
            "spent_seconds_bucket{le=\"1.0\"} 1",
            "spent_seconds_bucket{le=\"+Inf\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes ") && text.contains("process_open_fds "));
    }
}
