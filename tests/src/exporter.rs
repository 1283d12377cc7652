//! The Prometheus metrics of a process, for assertions. Entry points: [`Observed`], [`admin`], [`scrape`] and
//! [`names`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::netns::Netns;
use crate::process::Process;
use crate::town::{BOUND, Town, listeners};
use crate::virtual_service::{Host, Service};
use crate::wait;

/// A town with metrics: a hub, one node with an agent and a gateway, and a listener `l` on that gateway.
pub struct Observed {
    /// The town.
    pub town: Town,
    /// The hub's metrics address.
    pub hub: SocketAddr,
    /// The agent's metrics address.
    pub agent: SocketAddr,
}

// === impl Observed ===

impl Observed {
    /// Starts the town. `more` are additional arguments of the agent.
    ///
    /// # Errors
    /// Returns an error if a part doesn't start in time.
    pub async fn start(more: &[&str]) -> Result<Self> {
        let mut town = Town::without_portreeve(1).await?;
        let any = |address| format!("--admin={}", SocketAddr::new(address, 0));
        town.trust.hub_args.push(any(town.bed.root().v4()));
        town.start_hub()?;
        town.agent_args = more.iter().map(ToString::to_string).collect();
        town.agent_args.push(any(town.nodes[0].address()));
        town.start_agent(0)?;
        town.gateways().await?;
        let one =
            Service::new("one", "app: envoy-ingress").udp("l", 5000, &[Host::Pods("app: worker")], 6000);
        town.apply(&one.yaml()).await?;
        listeners(&town.nodes[0].gateway(), &["l"], BOUND).await?;
        let hub = admin(town.hub.as_mut().context("a hub")?)?;
        let agent = admin(town.nodes[0].agent.as_mut().context("an agent")?)?;
        Ok(Self { town, hub, agent })
    }
}

/// Returns the metrics address that a process has logged.
///
/// # Errors
/// Returns an error if it hasn't logged one.
pub fn admin(process: &mut Process) -> Result<SocketAddr> {
    process.wait_log("serving metrics", BOUND)?;
    let log = process.log();
    let line = log.lines().find(|line| line.contains("serving metrics")).context("no such line")?;
    let text = line.split("address=").nth(1).context("no address in the line")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

/// Returns the samples of `/metrics`, by name with labels as text.
///
/// # Errors
/// Returns an error if the process doesn't answer, or not with metrics.
pub fn scrape(netns: &Netns, address: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let text = text(netns, address)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
        Ok((name.to_owned(), value.parse()?))
    };
    lines.map(sample).collect()
}

/// Returns the names of all metrics of `/metrics`, including those without a sample.
///
/// # Errors
/// Returns an error if the process doesn't answer, or not with metrics.
pub fn names(netns: &Netns, address: SocketAddr) -> Result<BTreeSet<String>> {
    let text = text(netns, address)?;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let endings = |kind: &str| match kind {
        "counter" => &["_total"][..],
        "histogram" => &["_bucket", "_count", "_sum"],
        _ => &[""],
    };
    Ok(types.flat_map(|(name, kind)| endings(kind).iter().map(move |end| format!("{name}{end}"))).collect())
}

/// Waits until these samples have these values.
///
/// # Errors
/// Returns an error with the actual values after a timeout.
pub async fn shows(netns: &Netns, address: SocketAddr, wanted: &[(&str, f64)]) -> Result<()> {
    let shown = || {
        let found = scrape(netns, address).unwrap_or_default();
        wanted.iter().all(|(name, value)| found.get(*name) == Some(value))
    };
    match wait::until("the samples", BOUND, || async { shown() }).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(format!("wanted {wanted:?}, found {:#?}", scrape(netns, address)))),
    }
}

fn text(netns: &Netns, address: SocketAddr) -> Result<String> {
    let (status, text) = http::get(netns, address, "/metrics")?;
    ensure!(status == 200 && text.ends_with("# EOF\n"), "{status}: {text}");
    Ok(text)
}
