//! Objects of API C go in any order of their deletion, whatever finalizers EPIC's programs put on them.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt as _};
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::{account, endpoint, load_balancer, remote_endpoint, service_group};
use portreeve_api::kind::Definition;
use portreeve_tests::floating::keeper;
use portreeve_tests::netns::Netns;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{epic, kustomize, process, wait};

/// The objects of an account: each kind, and its object's name.
const OBJECTS: [(&Definition, &str); 5] = [
    (&account::DEFINITION, "ACCOUNT"),
    (&service_group::DEFINITION, "gold"),
    (&load_balancer::DEFINITION, "web"),
    (&remote_endpoint::DEFINITION, "remote"),
    (&endpoint::DEFINITION, "document"),
];

/// A whole account, with the finalizers of all eras.
fn account(name: &str) -> String {
    epic::account(name, &format!("epic-{name}")) + &epic::group(name, "gold", true) + &finalized(name)
}

/// A load balancer and its endpoints.
fn finalized(name: &str) -> String {
    format!(
        "
---
apiVersion: epic.acnodal.io/v1
kind: LoadBalancer
metadata:
  name: web
  namespace: epic-{name}
  labels: {{owning-servicegroup: gold}}
  finalizers:
  - loadbalancer-finalizer.controller-manager.acnodal.io
  - loadbalancerReconciler.xdsController.epic.acnodal.io
  - lb.controller-manager.acnodal.io/finalizer
  - gw-1.lb.controller-manager.acnodal.io/finalizer
spec: {{public-address: '', public-ports: [{{port: 5060, protocol: UDP}}], upstream-clusters: []}}
---
apiVersion: epic.acnodal.io/v1
kind: RemoteEndpoint
metadata:
  name: remote
  namespace: epic-{name}
  labels: {{owning-loadbalancer: web}}
  finalizers:
  - remoteendpoint-finalizer.controller-manager.acnodal.io
  - remoteendpoint-finalizer.xds-controller.acnodal.io
  - remoteendpoint.controller-manager.epic.acnodal.io/finalizer
spec: {{cluster: one, address: 192.0.2.3, node-address: 192.0.2.1, port: {{port: 80}}}}
---
apiVersion: epic.acnodal.io/v1
kind: Endpoint
metadata: {{name: document, namespace: epic-{name}, finalizers: [remoteendpoint-finalizer.controller-manager.acnodal.io]}}
spec: {{load-balancer: web, address: 192.0.2.4, node-address: 192.0.2.1, port: {{port: 80}}}}
"
    )
}

/// A pool in the nodes' subnet.
fn pool() -> String {
    epic::pool("10.77.0.0/16", "10.77.200.1-10.77.200.200", "")
}

/// All orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let insert = |order: Vec<usize>| {
        (0..count).map(move |at| {
            let mut longer = order.clone();
            longer.insert(at, last);
            longer
        })
    };
    orders(last).into_iter().flat_map(insert).collect()
}

fn api(town: &Town, account: &str, of: &Definition) -> Api<DynamicObject> {
    Api::namespaced_with(town.client.clone(), &format!("epic-{account}"), &(of.resource)())
}

async fn addressed(town: &Town, account: &str) -> Result<IpAddr> {
    let api = Api::<LoadBalancer>::namespaced(town.client.clone(), &format!("epic-{account}"));
    wait::eventually(&format!("the address of {account}'s load balancer"), BOUND, || async {
        api.get("web").await.ok()?.form().ok()?.public_address
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_in_every_order_of_their_deletion_and_their_address_is_free_again() -> Result<()> {
    let town = Town::start(0).await?;
    town.apply(&pool()).await?;
    let orders = orders(OBJECTS.len());
    let mut seen = Vec::new();
    for (number, order) in orders.iter().enumerate() {
        let name = format!("o{number}");
        town.apply(&account(&name)).await?;
        seen.push((name, order));
    }
    for (name, order) in &seen {
        addressed(&town, name).await?;
        for index in order.iter().copied() {
            let (of, object) = OBJECTS[index];
            let object = object.replace("ACCOUNT", name);
            api(&town, name, of).delete(&object, &DeleteParams::default()).await.with_context(|| object)?;
        }
    }
    for (name, order) in &seen {
        for (of, _) in OBJECTS {
            let what = format!("the {} of {name}, deleted in the order {order:?}, to be gone", of.kind.name);
            let gone = || async {
                let left = api(&town, name, of).list(&Default::default()).await;
                left.is_ok_and(|left| left.items.is_empty())
            };
            wait::until(&what, BOUND, gone).await?;
        }
    }
    println!("{} orders of {} objects", orders.len(), OBJECTS.len());
    town.apply(&account("last")).await?;
    // The hub may hear of some deletions a moment later, but not of all.
    let again = addressed(&town, "last").await?;
    let used = 1..=u8::try_from(orders.len())?;
    let is_free_again = used.clone().any(|last| again == IpAddr::from([10, 77, 200, last]));
    ensure!(is_free_again, "{again} was never in use: none of the {used:?} is free again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_of_others_stay_and_a_lost_node_holds_nothing_up() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.gateways_with("  allowedNamespaces: {from: List, names: [epic-a]}\n").await?;
    town.nodes[0].netns.add_address(IpAddr::from([10, 77, 200, 1]))?;
    town.apply(&(pool() + &account("a"))).await?;
    let api = api(&town, "a", &load_balancer::DEFINITION);
    let whole = "  - gw-1.lb.controller-manager.acnodal.io/finalizer";
    town.apply(&account("a").replace(whole, &format!("{whole}\n  - example.org/other"))).await?;
    let programmed = || async {
        let found = api.get("web").await.ok();
        let conditions = found.and_then(|found| found.data["status"]["conditions"].as_array().cloned());
        let conditions = conditions.unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Programmed" && one["status"] == "True")
    };
    wait::until("the load balancer to be programmed", BOUND, programmed).await?;
    town.nodes[0].agent.take().context("the agent runs")?.kill();
    api.delete("web", &DeleteParams::default()).await?;
    let left =
        || async { api.get_opt("web").await.ok().flatten().is_none_or(|one| one.finalizers().len() == 1) };
    wait::until("the finalizers to be off", BOUND, left).await?;
    let found = api.get("web").await?;
    ensure!(found.finalizers() == ["example.org/other"], "{:?}", found.finalizers());
    Ok(())
}

/// The floating addresses that a node has, in its interfaces and in its routes.
fn left(of: &Netns) -> Result<BTreeSet<String>> {
    let interfaces = process::run(of.command("ip").args(["-o", "addr", "show"]))?;
    let routes = process::run(of.command("ip").args(["route", "show", "table", "all"]))?;
    let words = interfaces.split_whitespace().chain(routes.split_whitespace());
    Ok(words.filter(|word| word.starts_with("10.77.200.")).map(|word| word.replace("/32", "")).collect())
}

fn devices(of: &Netns) -> Result<BTreeSet<String>> {
    let listed = process::run(of.command("ip").args(["-o", "link", "show"]))?;
    Ok(listed.lines().filter_map(|line| line.split(": ").nth(1)).map(ToString::to_string).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_listener_address_route_or_device_is_left_whatever_goes_first() -> Result<()> {
    let town = Town::start(1).await?;
    town.apply(&fs::read_to_string(kustomize::deploy().join("components/addresses/rights.yaml"))?).await?;
    town.gateways_with("  allowedNamespaces: {from: All}\n").await?;
    let _keeper = keeper(&town, 0).await?;
    town.apply(&pool()).await?;
    let (gateway, netns) = (town.nodes[0].gateway(), &town.nodes[0].netns);
    let before = devices(netns)?;
    // The document's endpoint always goes first.
    let orders: Vec<Vec<usize>> = orders(OBJECTS.len()).into_iter().filter(|order| order[0] == 4).collect();
    let names: Vec<String> = (0..orders.len()).map(|number| format!("o{number}")).collect();
    for name in &names {
        town.apply(&account(name)).await?;
    }
    let served = |count: usize| {
        let gateway = &gateway;
        move || async move {
            let listeners = gateway.listeners().await.map(|all| all.len());
            listeners.is_ok_and(|all| all == count) && left(netns).is_ok_and(|all| all.len() == count)
        }
    };
    wait::until("all listeners and addresses", BOUND * 2, served(orders.len())).await?;
    println!("{} load balancers, {:?}", orders.len(), left(netns)?);
    for (name, order) in names.iter().zip(&orders) {
        for index in order.iter().copied() {
            let (of, object) = OBJECTS[index];
            let object = object.replace("ACCOUNT", name);
            api(&town, name, of).delete(&object, &DeleteParams::default()).await.with_context(|| object)?;
        }
    }
    wait::until("no listener and no address to be left", BOUND * 2, served(0)).await?;
    let after = devices(netns)?;
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}
