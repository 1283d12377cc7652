//! What a process tells Prometheus, as a test reads it. Entry points: [`Observed`], [`admin`],
//! [`scrape`] and [`names`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::netns::Netns;
use crate::process::Process;
use crate::town::{BOUND, Town, listeners};
use crate::virtual_service::{Host, Service};
use crate::wait;

/// A town that tells its metrics: a hub, one node with an agent and a gateway, and a listener `l` on that.
pub struct Observed {
    /// The town.
    pub town: Town,
    /// Where its hub tells.
    pub hub: SocketAddr,
    /// Where its agent tells.
    pub agent: SocketAddr,
}

// === impl Observed ===

impl Observed {
    /// Its agent has these arguments too.
    ///
    /// # Errors
    /// Something didn't start in time.
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

/// Where a process says that it tells its metrics.
///
/// # Errors
/// It does not say so.
pub fn admin(process: &mut Process) -> Result<SocketAddr> {
    process.wait_log("serving metrics", BOUND)?;
    let log = process.log();
    let line = log.lines().find(|line| line.contains("serving metrics")).context("no such line")?;
    let text = line.split("address=").nth(1).context("no address in the line")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

/// The samples of `/metrics`, by name and labels as they are written.
///
/// # Errors
/// It does not answer, or with something else.
pub fn scrape(netns: &Netns, address: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let text = text(netns, address)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
        Ok((name.to_owned(), value.parse()?))
    };
    lines.map(sample).collect()
}

/// The names that the samples of `/metrics` have or would have, if there were any.
///
/// # Errors
/// It does not answer, or with something else.
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
/// They have others in the end; what there is instead.
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
