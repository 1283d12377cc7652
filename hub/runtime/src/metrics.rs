//! What a process tells Prometheus ([`Metrics`]): families of samples ([`Family`]) that are taken when it asks, so that
//! nothing is counted for it on a hot path; and of every process its build, memory, processor time and files.
//!
//! Written by prometheus-client, in the OpenMetrics text format.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a family's values may fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They may.
    Gauge,
    /// They count since the process started; `_total` is written behind the name.
    Counter,
}

/// Samples under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name, with its unit and without `_total`.
    pub name: &'static str,
    /// What it is, for a person.
    pub help: &'static str,
    /// Gauge or counter.
    pub kind: Kind,
    /// Each with its labels.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values, in the order in which they are written.
    pub labels: Vec<(&'static str, String)>,
    /// The value, in the unit of the family's name.
    pub value: f64,
}

/// All that a process has to tell.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
}

type Look = Box<dyn Fn() -> Vec<Family> + Send + Sync>;

struct Source(Look);

// === impl Family ===

impl Family {
    /// A gauge without samples yet.
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge, samples: Vec::new() }
    }

    /// A counter without samples yet.
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter, samples: Vec::new() }
    }

    /// With its only value.
    #[must_use]
    pub fn value(self, value: f64) -> Self {
        self.sample(Vec::new(), value)
    }

    /// With a value under one label.
    #[must_use]
    pub fn with(self, label: &'static str, name: impl Into<String>, value: f64) -> Self {
        self.sample(vec![(label, name.into())], value)
    }

    /// With one value for each entry, under one label.
    #[must_use]
    pub fn each<N: Into<String>>(self, label: &'static str, all: impl IntoIterator<Item = (N, f64)>) -> Self {
        all.into_iter().fold(self, |family, (name, value)| family.with(label, name, value))
    }

    /// With a value under these labels.
    #[must_use]
    pub fn sample(mut self, labels: Vec<(&'static str, String)>, value: f64) -> Self {
        self.samples.push(Sample { labels, value });
        self
    }
}

// === impl Metrics ===

impl Metrics {
    /// What `look` finds each time, and the process's own part; `component` names the program.
    pub fn new(component: &'static str, look: impl Fn() -> Vec<Family> + Send + Sync + 'static) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Source(Box::new(move || {
            let build =
                vec![("component", component.to_owned()), ("version", env!("CARGO_PKG_VERSION").into())];
            let mut all = vec![
                Family::gauge("portreeve_build_info", "Which program of which version this is")
                    .sample(build, 1.0),
            ];
            all.extend(process());
            all.extend(look());
            all
        }))));
        Self { registry: Arc::new(registry) }
    }

    /// All of it, in [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// A family can't be written.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
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

// === impl Source ===

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in (self.0)() {
            let kind = match family.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for Sample { labels, value } in &family.samples {
                match labels.is_empty() {
                    true => write(&mut metric, family.kind, *value)?,
                    false => write(&mut metric.encode_family(labels)?, family.kind, *value)?,
                }
            }
        }
        Ok(())
    }
}

fn write(metric: &mut MetricEncoder<'_>, kind: Kind, value: f64) -> fmt::Result {
    match kind {
        Kind::Gauge => metric.encode_gauge(&value),
        Kind::Counter => metric.encode_counter::<NoLabelSet, _, f64>(&value, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_taken_anew_each_time_and_written_with_their_labels() {
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
        metrics.text().unwrap();
        let text = metrics.text().unwrap();
        for line in [
            "# TYPE asked counter",
            "asked_total 2.0",
            "colours{name=\"red\"} 1.0",
            "colours{name=\"bl\\\"ue\"} 2.5",
            "portreeve_build_info{component=\"test\",version=\"0.1.0\"} 1.0",
            "# TYPE process_cpu_seconds counter",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes ") && text.contains("process_open_fds "));
    }
}
