//! What hub and agents tell Prometheus and a kubelet, over their own HTTP endpoints.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use portreeve_tests::http;
use portreeve_tests::netns::Netns;
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town, listeners};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::wait;

/// Where a process says that it tells its metrics.
fn admin(process: &mut Process) -> Result<SocketAddr> {
    process.wait_log("serving metrics", BOUND)?;
    let log = process.log();
    let line = log.lines().find(|line| line.contains("serving metrics")).context("no such line")?;
    let text = line.split("address=").nth(1).context("no address in the line")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

/// The samples of `/metrics`, by name and labels as they are written.
fn scrape(netns: &Netns, address: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let (status, text) = http::get(netns, address, "/metrics")?;
    ensure!(status == 200 && text.ends_with("# EOF\n"), "{status}: {text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
        Ok((name.to_owned(), value.parse()?))
    };
    lines.map(sample).collect()
}

/// Waits until these samples have these values.
async fn shows(netns: &Netns, address: SocketAddr, wanted: &[(&str, f64)]) -> Result<()> {
    let shown = || {
        let found = scrape(netns, address).unwrap_or_default();
        wanted.iter().all(|(name, value)| found.get(*name) == Some(value))
    };
    match wait::until("the samples", BOUND, || async { shown() }).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(format!("wanted {wanted:?}, found {:#?}", scrape(netns, address)))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_and_agent_tell_what_they_serve_and_when_they_are_ready() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    let root = town.bed.root().clone();
    let any = |address| format!("--admin={}", SocketAddr::new(address, 0));
    town.trust.hub_args.push(any(root.v4()));
    town.start_hub()?;
    town.agent_args = vec![any(town.nodes[0].address())];
    town.start_agent(0)?;
    town.gateways().await?;
    let one = Service::new("one", "app: envoy-ingress").udp("l", 5000, &[Host::Pods("app: worker")], 6000);
    town.apply(&one.yaml()).await?;
    listeners(&town.nodes[0].gateway(), &["l"], BOUND).await?;

    let hub = admin(town.hub.as_mut().context("a hub")?)?;
    shows(
        &root,
        hub,
        &[
            ("portreeve_build_info{component=\"hub\",version=\"0.1.0\"}", 1.0),
            ("portreeve_hub_leader", 1.0),
            ("portreeve_hub_agents", 1.0),
            ("portreeve_hub_objects{kind=\"virtualservice\"}", 1.0),
            ("portreeve_hub_objects{kind=\"node\"}", 1.0),
            ("portreeve_hub_nodes{state=\"heard\"}", 1.0),
            ("portreeve_hub_plan_proxies{state=\"acked\"}", 1.0),
            ("portreeve_hub_plan_proxies{state=\"refused\"}", 0.0),
            ("portreeve_hub_node_proxies{state=\"running\"}", 1.0),
            ("portreeve_hub_node_proxies{state=\"failing\"}", 0.0),
        ],
    )
    .await?;
    let agent = admin(town.nodes[0].agent.as_mut().context("an agent")?)?;
    shows(
        &root,
        agent,
        &[
            ("portreeve_agent_complete", 1.0),
            ("portreeve_agent_hubs{state=\"feeding\"}", 1.0),
            ("portreeve_agent_proxies{phase=\"Running\"}", 1.0),
            ("portreeve_agent_proxy_restarts_total{proxy=\"gateway\"}", 0.0),
            ("portreeve_agent_proxy_streams{proxy=\"nodeproxy/gateway\"}", 1.0),
            ("portreeve_agent_plans_by_state{state=\"programmed\"}", 1.0),
            ("portreeve_agent_store_problems", 0.0),
        ],
    )
    .await?;
    for address in [hub, agent] {
        let found = scrape(&root, address)?;
        ensure!(found["process_resident_memory_bytes"] > 1e6 && found["process_open_fds"] > 5.0, "{found:?}");
        for path in ["/livez", "/healthz", "/readyz"] {
            ensure!(http::get(&root, address, path)? == (200, "ok\n".to_owned()), "{path} of {address}");
        }
    }

    // A refusal is counted on both, and a hub that is away makes no ready agent unready.
    town.trust.hub_args.clear();
    town.hub = None;
    shows(&root, agent, &[("portreeve_agent_hubs{state=\"feeding\"}", 0.0)]).await?;
    ensure!(http::get(&root, agent, "/readyz")?.0 == 200, "an agent is no less ready without a hub");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_was_told_nothing_yet_is_not_ready_and_says_what_it_waits_for() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    let root = town.bed.root().clone();
    town.agent_args = vec![format!("--admin={}", SocketAddr::new(town.nodes[0].address(), 0))];
    // Nobody listens there.
    town.start_agent_at(0, SocketAddr::new(root.v4(), 9))?;
    let agent = admin(town.nodes[0].agent.as_mut().context("an agent")?)?;
    let words = (503, "waiting for the hub\n".to_owned());
    wait::until("an agent that waits for its hub", BOUND, || async {
        http::get(&root, agent, "/readyz").is_ok_and(|said| said == words)
    })
    .await?;
    ensure!(http::get(&root, agent, "/livez")?.0 == 200, "it lives");
    Ok(())
}
