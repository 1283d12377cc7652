//! The metrics and probes of hub and agents, over their own HTTP endpoints.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use portreeve_tests::exporter::{Observed, admin, names, scrape, shows};
use portreeve_tests::http;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::wait;

/// Checks that the metrics with unpredictable values exist.
async fn tells_how_much(town: &Town, hub: SocketAddr, agent: SocketAddr) -> Result<()> {
    let counted = [
        ("portreeve_hub_streams{kind=\"feed\"}", 1.0),
        ("portreeve_hub_streams{kind=\"reports\"}", 1.0),
        ("portreeve_hub_watch_failures_total{kind=\"vs\"}", 0.0),
        ("portreeve_hub_convergence_seconds_count", 1.0),
    ];
    shows(town.bed.root(), hub, &counted).await?;
    let (told, node) = (scrape(town.bed.root(), hub)?, &town.nodes[0].name);
    for name in ["resources", "resource_bytes"] {
        let name = format!("portreeve_hub_node_{name}{{node=\"{node}\"}}");
        ensure!(told[&name] >= 3.0, "{name}: {told:?}");
    }
    let heard = told["portreeve_hub_watch_last_event_timestamp_seconds{kind=\"vs\"}"];
    ensure!(heard > told["process_start_time_seconds"] - 1.0, "{heard}: {told:?}");
    ensure!(told["portreeve_hub_pushes_total"] >= 1.0, "{told:?}");
    let told = scrape(town.bed.root(), agent)?;
    ensure!(told["portreeve_agent_xds_answers_total{answer=\"ack\"}"] >= 2.0, "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_and_agent_tell_what_they_serve_and_when_they_are_ready() -> Result<()> {
    let Observed { mut town, hub, agent } = Observed::start(&[]).await?;
    let root = town.bed.root().clone();
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
            ("portreeve_agent_xds_streams_total", 1.0),
            ("portreeve_agent_xds_answers_total{answer=\"nack\"}", 0.0),
            ("portreeve_agent_probes_total{outcome=\"down\"}", 0.0),
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

    tells_how_much(&town, hub, agent).await?;

    // Both count a refusal, and an absent hub doesn't make an agent unready.
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
    let told = scrape(&root, agent)?;
    ensure!(!told.keys().any(|name| name.contains("envoy")), "nobody chose Envoy's statistics: {told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_counts_once_from_its_watch_event_to_its_last_answer() -> Result<()> {
    let mut town = Town::without_portreeve(2).await?;
    let root = town.bed.root().clone();
    town.trust.hub_args.push(format!("--admin={}", SocketAddr::new(root.v4(), 0)));
    town.start_hub()?;
    town.start_agent(0)?;
    town.start_agent(1)?;
    town.gateways().await?;
    let hub = admin(town.hub.as_mut().context("a hub")?)?;
    let (count, sum) = ("portreeve_hub_convergence_seconds_count", "portreeve_hub_convergence_seconds_sum");
    let acked = "portreeve_hub_plan_proxies{state=\"acked\"}";
    let mk = |port| {
        Service::new("one", "app: envoy-ingress").udp("l", port, &[Host::Pods("app: worker")], 6000).yaml()
    };
    shows(&root, hub, &[(count, 0.0)]).await?;
    for (changes, port) in [(1.0, 5000), (2.0, 5001), (3.0, 5002)] {
        town.apply(&mk(port)).await?;
        shows(&root, hub, &[(count, changes), (acked, 2.0)]).await?;
    }
    let found = scrape(&root, hub)?;
    println!("3 changes on 2 nodes: {:.1} ms each", found[sum] / 3.0 * 1000.0);
    ensure!(found[sum] > 0.0 && found[sum] < 3.0 * BOUND.as_secs_f64(), "{found:?}");
    ensure!(found["portreeve_hub_convergence_seconds_bucket{le=\"+Inf\"}"] == 3.0, "{found:?}");

    // Objects that existed before the hub's start aren't counted, but their next change is.
    town.hub = None;
    town.start_hub()?;
    let hub = admin(town.hub.as_mut().context("a hub")?)?;
    shows(&root, hub, &[(acked, 2.0), ("portreeve_hub_leader", 1.0)]).await?;
    ensure!(scrape(&root, hub)?[count] == 0.0, "{:?}", scrape(&root, hub)?);
    town.apply(&mk(5003)).await?;
    shows(&root, hub, &[(count, 1.0), (acked, 2.0)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_statistics_are_told_with_their_proxy_when_they_are_chosen() -> Result<()> {
    let Observed { town, agent, .. } =
        Observed::start(&["--envoy-metrics=server.live,listener_manager."]).await?;
    let root = town.bed.root().clone();
    let live = "envoy_server_live{proxy=\"gateway\"}";
    shows(&root, agent, &[(live, 1.0), ("portreeve_agent_envoy_samples_left_out_total", 0.0)]).await?;
    let told = scrape(&root, agent)?;
    let of_envoy: Vec<_> = told.keys().filter(|name| name.starts_with("envoy_")).collect();
    println!("{of_envoy:#?}");
    let chosen =
        |name: &str| name.starts_with("envoy_server_live") || name.starts_with("envoy_listener_manager_");
    ensure!(of_envoy.len() > 2 && of_envoy.iter().all(|name| chosen(name)), "{of_envoy:?}");
    ensure!(names(&root, agent)?.contains("portreeve_agent_envoy_scrapes_total"), "{told:?}");
    let made = told.iter().find(|(name, _)| name.contains("listener_create_success"));
    ensure!(made.is_some_and(|(_, value)| *value >= 1.0), "{told:?}");
    Ok(())
}
