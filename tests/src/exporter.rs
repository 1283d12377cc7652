//! What a process tells Prometheus, as a test reads it. Entry points: [`admin`], [`scrape`] and [`names`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::netns::Netns;
use crate::process::Process;
use crate::town::BOUND;
use crate::wait;

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
