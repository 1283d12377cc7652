//! Health checks as configured in objects: HTTP checks of a real Envoy's health listener, and no check at all.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use portreeve_tests::path;
use portreeve_tests::town::{BOUND, Town, listeners};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::said;

/// The port of the app.
const APP: u16 = 6000;
/// The Envoys' health listener.
const HEALTH: u16 = 1233;
/// Settings of a NodeProxy whose Envoy answers health checks.
const LISTENER: &str = "  envoy: {healthListener: 1233}\n";

/// Returns a VirtualService with one listener and this address as its only endpoint, and these extra lines in the
/// cluster and the endpoint.
fn service(name: &str, port: u16, ip: IpAddr, check: &str, health_port: &str) -> String {
    format!(
        "apiVersion: servicemesh.l7mp.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  selector: {{app: envoy-ingress}}\n  listeners:\n  - name: {name}\n    udp:\n      port: {port}\n      \
         cluster:\n        name: c\n        service_discovery: strictdns\n        {check}\n        endpoints:\n        \
         - {{name: e, host: {{address: '{ip}'}}, port: {APP}{health_port}}}\n"
    )
}

/// Returns a health check with this addition.
fn check(more: &str) -> String {
    format!("health_check: {{interval: 500, protocol: TCP{more}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_by_http_and_tcp_and_none_are_what_the_object_says() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways_with(LISTENER).await?;
    let node = &town.nodes[0];
    node.gateway().wait_ready(BOUND).await?;
    let (root, ip) = (town.bed.root(), node.address());
    let _app = Echo::start(&node.netns, "app", SocketAddr::new(ip, APP))?;
    let (at, closed) = (format!(", health_check_port: {HEALTH}"), ", health_check_port: 1");
    let http = |path: &str| check(&format!(", http: {{path: {path}}}"));
    let cases = [
        ("answered", 5001, http("/healthcheck"), at.as_str(), true),
        ("not-found", 5002, http("/nowhere"), &at, false),
        ("connected", 5003, check(""), &at, true),
        ("closed", 5004, check(""), closed, false),
        ("portless", 5005, check(""), "", true),
        ("unchecked", 5006, String::new(), closed, true),
    ];
    for (name, port, check, health_port, _) in &cases {
        town.apply(&service(name, *port, ip, check, health_port)).await?;
    }
    let mut wanted = vec!["portreeve-health"];
    wanted.extend(cases.iter().map(|case| case.0));
    listeners(&node.gateway(), &wanted, BOUND).await?;
    // The failing ones first: once they failed, all have been checked.
    for (name, port, ..) in cases.iter().filter(|case| !case.4) {
        println!("{name}: {}", path::closes(root, SocketAddr::new(ip, *port), BOUND)?);
    }
    for (name, port, ..) in cases.iter().filter(|case| case.4) {
        println!("{name}: {}", path::opens(root, SocketAddr::new(ip, *port), "app", BOUND)?);
    }
    let warned = said(&town.client, "portless", ("Accepted", "True"), BOUND).await?;
    ensure!(warned.starts_with("NoHealthPort: ") && warned.contains("endpoint e"), "{warned}");
    let quiet = said(&town.client, "connected", ("Accepted", "True"), BOUND).await?;
    ensure!(quiet.starts_with("Accepted: "), "{quiet}");
    states_its_defaults(&node.gateway().config_dump().await?, cases.len())
}

/// Checks that Envoy has this number of the product's clusters, each without a panic threshold and with removal
/// whatever the health.
fn states_its_defaults(dump: &serde_json::Value, wanted: usize) -> Result<()> {
    let parts = dump["configs"].as_array().context("configs")?;
    let clusters = parts.iter().filter_map(|part| part["dynamic_active_clusters"].as_array()).flatten();
    let ours: Vec<_> = clusters.map(|one| &one["cluster"]).collect();
    ensure!(ours.len() == wanted, "{} clusters", ours.len());
    for cluster in ours {
        // Envoy omits zero.
        let panic = &cluster["common_lb_config"]["healthy_panic_threshold"];
        ensure!(panic.as_object().is_some_and(|percent| !percent.contains_key("value")), "{cluster:#}");
        ensure!(cluster["ignore_health_on_host_removal"] == true, "{cluster:#}");
    }
    Ok(())
}
