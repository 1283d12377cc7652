//! Adds Envoys' own counters and gauges to the agent's metrics: those with a chosen prefix ([`Prefix`]), from each
//! proxy that answers, with the label `proxy`. Entry point: [`Stats::of_all`].
//!
//! Names are those that Envoy itself uses. Its histograms are left out, because each has twenty samples per cluster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::{BoxFuture, FutureExt as _, join_all};
use portreeve_keeper::envoy::statistics::Prefix;
use portreeve_runtime::metrics::{Family, Kind};

/// The future answer of a proxy, if it answers.
pub type Answer = BoxFuture<'static, Option<String>>;

/// Maximum number of samples of all proxies in one answer.
pub const MOST: usize = 5_000;

/// The chosen statistics, and what was left out since the start.
#[derive(Debug, Default)]
pub struct Stats {
    chosen: Vec<Prefix>,
    most: usize,
    answered: AtomicU64,
    silent: AtomicU64,
    left_out: AtomicU64,
}

/// The statistics read from all proxies.
#[derive(Default)]
struct Gathered {
    families: BTreeMap<String, Family>,
    samples: usize,
    left_out: u64,
}

// === impl Stats ===

impl Stats {
    /// Chooses statistics whose names have one of these prefixes.
    pub fn of(chosen: Vec<Prefix>) -> Self {
        Self { chosen, most: MOST, ..Self::default() }
    }

    /// Requests the chosen statistics from all proxies concurrently. A proxy that doesn't answer is left out and
    /// counted, and so are samples beyond [`MOST`]. Without a chosen prefix no proxy is asked, because an Envoy would
    /// return everything.
    pub async fn of_all(&self, ask: impl FnOnce(&[Prefix]) -> Vec<(String, Answer)>) -> Vec<Family> {
        if self.chosen.is_empty() {
            return Vec::new();
        }
        let asked = ask(&self.chosen).into_iter();
        let answers = asked.map(|(name, answer)| answer.map(|answer| (name, answer)));
        let mut all = Gathered::default();
        for (proxy, answer) in join_all(answers).await {
            let counter = if answer.is_some() { &self.answered } else { &self.silent };
            counter.fetch_add(1, Ordering::Relaxed);
            all.read(answer.as_deref().unwrap_or_default(), &proxy, self.most);
        }
        self.left_out.fetch_add(all.left_out, Ordering::Relaxed);
        let mut families = self.own();
        families.extend(all.families.into_values());
        families
    }

    /// Returns metrics about the requests themselves.
    fn own(&self) -> Vec<Family> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let asked = [("answered", count(&self.answered)), ("silent", count(&self.silent))];
        vec![
            Family::counter(
                "portreeve_agent_envoy_scrapes",
                "How often proxies were asked for their statistics",
            )
            .each("outcome", asked),
            Family::counter(
                "portreeve_agent_envoy_samples_left_out",
                "Samples of proxies beyond what is allowed",
            )
            .value(count(&self.left_out)),
        ]
    }
}

// === impl Gathered ===

impl Gathered {
    /// Reads the output of one proxy.
    fn read(&mut self, text: &str, proxy: &str, most: usize) {
        let mut kind = None;
        for line in text.lines() {
            if let Some(said) = line.strip_prefix("# TYPE ") {
                kind = said.split_once(' ').and_then(|(name, kind)| kind_of(name, kind));
                continue;
            }
            let Some((kind, (name, labels, value))) = kind.zip(sample(line)) else { continue };
            if self.samples >= most {
                self.left_out += 1;
                continue;
            }
            let bare = if kind == Kind::Counter { name.trim_end_matches("_total") } else { name };
            let new = || Family::new(kind, bare.to_owned(), "Envoy's own");
            let family = self.families.entry(bare.to_owned()).or_insert_with(new);
            if family.kind != kind {
                self.left_out += 1;
                continue;
            }
            let own = labels.into_iter().filter(|(name, _)| name != "proxy");
            let labels = own.map(|(name, value)| (name.into(), value));
            let labels = labels.chain([("proxy".into(), proxy.to_owned())]).collect();
            *family = std::mem::replace(family, Family::new(kind, "", "")).sample(labels, value);
            self.samples += 1;
        }
    }
}

/// Returns the kind of a family's samples; `None` if they are left out.
fn kind_of(name: &str, said: &str) -> Option<Kind> {
    match said {
        // Every counter has this suffix in OpenMetrics, and Envoy's names must stay unchanged.
        "counter" if name.ends_with("_total") => Some(Kind::Counter),
        "counter" => Some(Kind::Unknown),
        "gauge" => Some(Kind::Gauge),
        _ => None,
    }
}

/// Returns the names and values in the output, of all kinds.
pub(crate) fn samples(printed: &str) -> impl Iterator<Item = (&str, f64)> {
    printed.lines().filter_map(|line| sample(line).map(|(name, _, value)| (name, value)))
}

type Labels = Vec<(String, String)>;

/// Returns name, labels and value of a line; `None` if it isn't a sample.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else { return Some((head, Vec::new(), value)) };
    let labels = labels.strip_suffix('}')?;
    Some((name, read_labels(labels)?, value))
}

/// Parses `a="b",c="d"`.
fn read_labels(mut text: &str) -> Option<Labels> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        labels.push((name.to_owned(), value));
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

/// Returns the text up to the closing quote, and the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use portreeve_keeper::envoy::statistics::{LONGEST, text};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    const PRINTED: &str = "\
# TYPE envoy_cluster_upstream_cx_total counter
envoy_cluster_upstream_cx_total{envoy_cluster_name=\"a,\\\"b}\"} 7

# TYPE envoy_cluster_assignment_stale counter
envoy_cluster_assignment_stale{envoy_cluster_name=\"a\"} 1

# TYPE envoy_server_live gauge
envoy_server_live{} 1
# TYPE envoy_length_ms histogram
envoy_length_ms_bucket{le=\"0.5\"} 0
envoy_length_ms_sum{} 0
# TYPE broken gauge
broken{a=\"b 1
broken x
";

    fn told(most: usize) -> (Vec<Family>, u64) {
        let mut all = Gathered::default();
        all.read(PRINTED, "one", most);
        all.read(PRINTED, "two", most);
        (all.families.into_values().collect(), all.left_out)
    }

    #[test]
    fn counters_and_gauges_keep_their_names_and_labels_and_get_their_proxy() {
        let (families, left_out) = told(100);
        let kinds: Vec<_> = families.iter().map(|one| (&*one.name, one.kind, one.samples.len())).collect();
        let wanted = [
            ("envoy_cluster_assignment_stale", Kind::Unknown, 2),
            ("envoy_cluster_upstream_cx", Kind::Counter, 2),
            ("envoy_server_live", Kind::Gauge, 2),
        ];
        assert_eq!((kinds, left_out), (wanted.to_vec(), 0));
        let labels = [("envoy_cluster_name", "a,\"b}"), ("proxy", "two")];
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| ((*name).into(), (*value).to_owned())).collect();
        assert_eq!(families[1].samples[1].labels, labels);
    }

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        for (most, kept) in [(0, 0), (1, 1), (4, 4), (6, 6)] {
            let (families, left_out) = told(most);
            let found: usize = families.iter().map(|family| family.samples.len()).sum();
            assert_eq!((found, left_out), (kept, 6 - kept as u64), "{most}");
        }
    }

    /// An admin interface that answers one request with this text, or never.
    fn admin(path: PathBuf, answer: Option<String>) -> impl Future<Output = ()> {
        let listener = UnixListener::bind(&path).unwrap();
        async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 512];
            let length = stream.read(&mut asked).await.unwrap();
            assert!(
                asked[..length].starts_with(b"GET /stats/prometheus?filter=%5E%28server%5C.%29 HTTP/1.1\r\n")
            );
            match answer {
                // The answer may be too long for the client.
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                // Until the client gives up.
                None => assert_eq!(stream.read(&mut asked).await.unwrap_or_default(), 0),
            }
        }
    }

    #[tokio::test]
    async fn proxy_that_does_not_answer_is_left_out_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let talks = admin(path("talks"), Some(format!("{}{PRINTED}", head(PRINTED.len()))));
        let silent = admin(path("silent"), None);
        let endless = admin(path("endless"), Some(head(LONGEST + 1) + &"x".repeat(LONGEST + 1)));
        let refuses =
            admin(path("refuses"), Some("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".into()));
        let stats = Stats::of(vec!["server.".parse().unwrap()]);
        let all = ["talks", "silent", "endless", "refuses", "absent"].map(|name| {
            let socket = path(name);
            let answer = async move { text(&socket, &["server."]).await.ok() };
            (name.to_owned(), answer.boxed())
        });
        let (families, ..) = tokio::join!(stats.of_all(|_| all.into()), talks, silent, endless, refuses);
        let outcomes = families[0].samples.iter().map(|sample| &sample.value).collect::<Vec<_>>();
        let number = |value: f64| portreeve_runtime::metrics::Value::Number(value);
        assert_eq!(outcomes, [&number(1.0), &number(4.0)]);
        let proxies =
            families.iter().skip(2).flat_map(|family| &family.samples).filter_map(|one| one.labels.last());
        assert!(proxies.clone().count() == 3 && proxies.into_iter().all(|(_, proxy)| proxy == "talks"));
        assert!(Stats::default().of_all(|_| panic!("somebody is asked for nothing")).await.is_empty());
    }
}
