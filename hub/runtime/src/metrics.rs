//! A process's metrics for Prometheus ([`Metrics`]): families of samples ([`Family`]) that are read from the state when
//! Prometheus scrapes, so that hot paths count nothing for them. Every process also reports its build, memory, CPU time and
//! open files. Values that must be counted as they occur go into a [`Histogram`].
//!
//! prometheus-client writes them in the OpenMetrics text format.

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

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Values may rise and fall.
    Gauge,
    /// Values count from the process's start. `_total` is appended to the name.
    Counter,
    /// Values are distributions.
    Histogram,
    /// The type is not known. The name is written unchanged.
    Unknown,
}

/// Samples under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name, with its unit and without `_total`.
    pub name: Cow<'static, str>,
    /// The help text.
    pub help: Cow<'static, str>,
    /// The type.
    pub kind: Kind,
    /// The samples, each with its labels.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Label names and values, in the order of the output.
    pub labels: Vec<(Cow<'static, str>, String)>,
    /// The value.
    pub value: Value,
}

/// A sample's value, in the unit of the family's name.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The value of a gauge, a counter or an unknown type.
    Number(f64),
    /// The value of a histogram.
    Distribution(Histogram),
}

/// How long a scrape waits for the state. After that it gets the last samples.
const PATIENCE: Duration = Duration::from_millis(500);

/// The metrics of a process.
#[derive(Clone)]
pub struct Metrics {
    component: &'static str,
    state: Arc<StateReader>,
    ask: Arc<dyn Fn() -> BoxFuture<'static, Vec<Family>> + Send + Sync>,
}

/// The families of one scrape.
#[derive(Debug)]
struct Taken(Vec<Family>);

/// Reads a process's state. A read may wait for the state's lock, so it runs on a blocking thread, one at a time.
struct StateReader {
    look: Box<dyn Fn() -> Vec<Family> + Send + Sync>,
    busy: AtomicBool,
    /// The last samples, and when they were read.
    found: watch::Sender<Option<(Instant, Vec<Family>)>>,
}

/// A read in progress. Dropping it lets the next one begin.
struct Reading(Arc<StateReader>);

// === impl Family ===

impl Family {
    /// A family without samples.
    pub fn new(kind: Kind, name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), help: help.into(), kind, samples: Vec::new() }
    }

    /// A gauge without samples.
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Gauge, name, help)
    }

    /// A counter without samples.
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Counter, name, help)
    }

    /// A histogram with one distribution.
    pub fn histogram(name: &'static str, help: &'static str, distribution: Histogram) -> Self {
        let mut family = Self::new(Kind::Histogram, name, help);
        family.samples.push(Sample { labels: Vec::new(), value: Value::Distribution(distribution) });
        family
    }

    /// Adds a value without labels.
    #[must_use]
    pub fn value(self, value: f64) -> Self {
        self.sample(Vec::new(), value)
    }

    /// Adds a value with one label.
    #[must_use]
    pub fn with(self, label: &'static str, name: impl Into<String>, value: f64) -> Self {
        self.sample(vec![(label.into(), name.into())], value)
    }

    /// Adds one value per entry, with one label.
    #[must_use]
    pub fn each<N: Into<String>>(self, label: &'static str, all: impl IntoIterator<Item = (N, f64)>) -> Self {
        all.into_iter().fold(self, |family, (name, value)| family.with(label, name, value))
    }

    /// Adds a value with these labels.
    #[must_use]
    pub fn sample(mut self, labels: Vec<(Cow<'static, str>, String)>, value: f64) -> Self {
        self.samples.push(Sample { labels, value: Value::Number(value) });
        self
    }
}

// === impl Metrics ===

impl Metrics {
    /// The samples of `look`, called for each scrape, and the process's own. `component` is the program's name.
    pub fn new(component: &'static str, look: impl Fn() -> Vec<Family> + Send + Sync + 'static) -> Self {
        let nobody = || -> BoxFuture<'static, Vec<Family>> { Box::pin(async { Vec::new() }) };
        let state = StateReader {
            look: Box::new(look),
            busy: AtomicBool::new(false),
            found: watch::Sender::new(None),
        };
        Self { component, state: Arc::new(state), ask: Arc::new(nobody) }
    }

    /// Appends the samples of other processes, asked for each scrape. `ask` must limit its own time.
    #[must_use]
    pub fn asking(self, ask: impl Fn() -> BoxFuture<'static, Vec<Family>> + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(ask), ..self }
    }

    /// Returns all samples in [`CONTENT_TYPE`]. If the state is locked for longer than half a second, its last samples are
    /// returned; `portreeve_metrics_age_seconds` is their age.
    ///
    /// # Errors
    /// A family can't be encoded.
    pub async fn text(&self) -> Result<String, fmt::Error> {
        // Others are asked first, so that the state's samples about these questions are current.
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

// === impl StateReader ===

impl StateReader {
    /// Returns new samples, or the last ones if reading the state takes too long.
    async fn newest(self: &Arc<Self>) -> Vec<Family> {
        let mut found = self.found.subscribe();
        if !self.busy.swap(true, Ordering::AcqRel) {
            let reading = Reading(self.clone());
            tokio::task::spawn_blocking(move || {
                let families = (reading.0.look)();
                // Dropped before the send: a reader that wakes up and scrapes again must be able to begin a read.
                let reader = reading.0.clone();
                drop(reading);
                reader.found.send_replace(Some((Instant::now(), families)));
            });
        }
        // After a timeout the last samples are used.
        let _ = tokio::time::timeout(PATIENCE, found.changed()).await;
        let (at, mut families) = found.borrow().clone().unwrap_or((Instant::now(), Vec::new()));
        let age = Family::gauge(
            "portreeve_metrics_age_seconds",
            "Age of the samples of the process's state; it rises while a long change locks the state",
        );
        families.push(age.value(at.elapsed().as_secs_f64()));
        families
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// This process's resource usage, under Prometheus's standard names.
fn process() -> Vec<Family> {
    let all = crate::process::look(std::process::id(), |found| {
        let started = found.start_time() as f64;
        let mut all = vec![
            Family::gauge("process_resident_memory_bytes", "Resident memory").value(found.memory() as f64),
            Family::gauge("process_start_time_seconds", "Start time, seconds since 1970").value(started),
            Family::counter("process_cpu_seconds", "CPU time")
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
    async fn each_scrape_reads_families_again_and_writes_their_labels() {
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
