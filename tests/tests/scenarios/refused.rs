//! Resources that Portreeve accepts and a real Envoy rejects because of their content: the Envoy was built without some
//! extensions.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Api;
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_tests::path;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::Flow;
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::wait;

/// Settings of an Envoy without the load balancer for UDP clusters without a hash key, and without TCP.
const DISABLED: &str = "  envoy:
    extraArgs:
    - --disable-extensions
    - envoy.load_balancing_policies/envoy.load_balancing_policies.maglev,envoy.filters.network/envoy.filters.network.tcp_proxy
";
const SELECTOR: &str = "app: envoy-ingress";
/// The pods' port.
const PORT: u16 = 6000;

/// A service with one UDP listener of the same name.
fn udp(name: &str, port: u16, key: Option<&str>) -> String {
    let pipe = Pipe::new(name, port, PORT);
    virtual_service(name, SELECTOR, &[key.map_or(pipe.clone(), |key| pipe.keyed(key))])
}

/// Waits until `Programmed` has this reason for the newest generation. Returns its message.
async fn says(town: &Town, name: &str, reason: &str) -> Result<String> {
    let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
    let what = format!("Programmed={reason} of {name}");
    let mut last = None;
    let found = wait::seen(api, wait::named(name), (&what, BOUND), |object| {
        let mut all = object.status.iter().flat_map(|status| &status.conditions);
        let now = object.metadata.generation;
        last = all.find(|c| c.type_ == "Programmed" && c.observed_generation == now).cloned();
        last.as_ref()
            .filter(|condition| condition.reason == reason)
            .map(|condition| condition.message.clone())
    })
    .await;
    found.with_context(|| format!("it is {last:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_refuses_by_content_is_named_with_its_reason_and_the_rest_is_served() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways_with(DISABLED).await?;
    let root = town.bed.root();
    town.nodes[0].gateway().wait_ready(BOUND).await?;
    let (_workers, _echoes) = town.answering_workers(1, 1, PORT).await?;
    let at = |port| SocketAddr::new(town.nodes[0].address(), port);
    town.apply(&udp("served", 5000, Some("call"))).await?;
    path::opens(root, at(5000), "w1-1", BOUND)?;
    let flow = Flow::to(at(5000)).sockets(4).rate(200).lasting(Duration::from_secs(600)).start(root)?;

    town.apply(&udp("spread", 5001, None)).await?;
    let stream = Service::new("stream", SELECTOR).tcp("stream", 5002, &[Host::Pods("app: worker")], PORT);
    let keyed = "service_discovery: strictdns\n        hash_key: stream";
    town.apply(&stream.yaml().replace("service_discovery: strictdns", keyed)).await?;
    for (name, missing) in [("spread", "MAGLEV"), ("stream", "envoy.filters.network.tcp_proxy")] {
        let message = says(&town, name, "Nacked").await?;
        println!("{name}: {message}");
        let names = ["nodeproxy/gateway", name, missing];
        ensure!(
            names.iter().all(|part| message.contains(part)),
            "{message:?} does not name all of {names:?}"
        );
    }
    println!("served: {}", says(&town, "served", "Programmed").await?);
    // Later resources are served even while others are rejected.
    town.apply(&udp("later", 5003, Some("later"))).await?;
    path::opens(root, at(5003), "w1-1", BOUND)?;

    town.apply(&udp("spread", 5001, Some("now-keyed"))).await?;
    // The same object with UDP.
    town.apply(&udp("stream", 5002, Some("no-stream"))).await?;
    for (name, port) in [("spread", 5001), ("stream", 5002), ("served", 5000), ("later", 5003)] {
        println!("{name}: {}", says(&town, name, "Programmed").await?);
        path::opens(root, at(port), "w1-1", BOUND)?;
    }
    let report = flow.stop()?;
    report.undisturbed(town.nodes[0].netns.udp_drops()?).context("what is served beside what is refused")
}
