//! Load balancers of API C on a real gateway, to endpoints that it reaches without tunnels.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::api::ApiResource;
use kube::core::DynamicObject;
use kube::{Api, Resource as _};
use portreeve_api::c::load_balancer;
use portreeve_tests::greeter::{Greeter, greeting};
use portreeve_tests::town::{BOUND, Town, Worker};
use portreeve_tests::udp::Echo;
use portreeve_tests::{epic, path, wait};

const UDP: u16 = 6000;
const TCP: u16 = 7000;
/// How long traffic may take to follow an endpoint.
const LIVE: Duration = Duration::from_secs(1);

async fn programmed(town: &Town, account: &str) -> Result<()> {
    let resource: ApiResource = (load_balancer::DEFINITION.resource)();
    let namespace = format!("epic-{account}");
    let api = Api::<DynamicObject>::namespaced_with(town.client.clone(), &namespace, &resource);
    let what = format!("{namespace}/web to be programmed");
    wait::until(&what, BOUND, || async {
        let Ok(found) = api.get("web").await else { return false };
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| {
            one["type"] == "Programmed"
                && one["status"] == "True"
                && one["observedGeneration"].as_i64() == found.meta().generation
        })
    })
    .await
}

/// The name of the pod that greets over TCP.
fn greeted(town: &Town, to: SocketAddr) -> Result<String> {
    let greeting = greeting(town.bed.root(), to)?;
    Ok(greeting.context("nobody greets")?.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_with_equal_names_reach_their_own_endpoints_over_tcp_and_udp() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways_with("  allowedNamespaces: {from: List, names: [epic-a, epic-b]}\n").await?;
    let (mut pods, mut servers) = (Vec::new(), Vec::new());
    for number in 1..=3 {
        let pod = town.worker(1, number, "app: customer", false).await?;
        let echo = Echo::start(&pod.netns, &pod.name, SocketAddr::new(pod.ip(), UDP))?;
        let greeter = Greeter::start(&pod.netns, &pod.name, SocketAddr::new(pod.ip(), TCP))?;
        pods.push(pod);
        servers.push((echo, greeter));
    }
    let addresses = [town.nodes[0].address(), IpAddr::from([10, 77, 200, 1])];
    town.nodes[0].netns.add_address(addresses[1])?;
    let [tcp, udp] = [8080, 5060];
    for (name, address, pod) in [("a", addresses[0], &pods[0]), ("b", addresses[1], &pods[1])] {
        let namespace = format!("epic-{name}");
        let objects = epic::account(name, &namespace) + &epic::group(name, "gold", true);
        let balanced =
            epic::load_balancer(name, address, [tcp, udp]) + &epic::endpoints(name, pod.ip(), [TCP, UDP]);
        town.apply(&(objects + &balanced)).await?;
    }
    for (name, address, pod) in [("a", addresses[0], &pods[0]), ("b", addresses[1], &pods[1])] {
        programmed(&town, name).await?;
        path::opens(town.bed.root(), SocketAddr::new(address, udp), &pod.name, BOUND)?;
        let by = greeted(&town, SocketAddr::new(address, tcp))?;
        ensure!(by.contains(&pod.name), "{name}: {by} greets");
    }

    town.apply(&epic::endpoints("a", pods[2].ip(), [TCP, UDP])).await?;
    let begun = Instant::now();
    path::opens(town.bed.root(), SocketAddr::new(addresses[0], udp), &pods[2].name, LIVE)?;
    println!("datagrams followed the endpoint after {:.2?}", begun.elapsed());
    wait::until("connections to follow the endpoint", LIVE, || async {
        greeted(&town, SocketAddr::new(addresses[0], tcp)).is_ok_and(|by| by.contains(&pods[2].name))
    })
    .await?;
    let other = path::answered(town.bed.root(), SocketAddr::new(addresses[1], udp), BOUND)?;
    let by = other.answered_by();
    ensure!(by.keys().all(|by| *by == pods[1].name), "{by:?}");
    share(&town, addresses.map(|address| [tcp, udp].map(|port| SocketAddr::new(address, port))), &pods[2])
        .await
}

/// The second account gets endpoints with the addresses of the first one's, which then loses its own. Each account has what its
/// own objects say.
async fn share(town: &Town, [first, second]: [[SocketAddr; 2]; 2], pod: &Worker) -> Result<()> {
    let root = town.bed.root();
    town.apply(&epic::endpoints("b", pod.ip(), [TCP, UDP])).await?;
    for [tcp, udp] in [first, second] {
        path::opens(root, udp, &pod.name, BOUND)?;
        wait::wait_until("the pod to greet", BOUND, || {
            greeted(town, tcp).is_ok_and(|by| by.contains(&pod.name))
        })?;
    }
    town.delete(&epic::endpoints("a", pod.ip(), [TCP, UDP])).await?;
    path::closes(root, first[1], BOUND)?;
    wait::wait_until("nobody to greet", BOUND, || greeted(town, first[0]).is_err())?;
    path::opens(root, second[1], &pod.name, BOUND)?;
    let by = greeted(town, second[0])?;
    ensure!(by.contains(&pod.name), "{by} greets");
    Ok(())
}
