//! Tunnels of load balancers to customers' nodes: their ids, the copies in endpoints, and those of objects that are taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::core::DynamicObject;
use portreeve_api::c::{account, epic, load_balancer, remote_endpoint};
use portreeve_api::kind::Definition;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{kustomize, manifest, wait};
use serde_json::{Value, json};

/// The customers' nodes.
const NODES: [&str; 2] = ["192.0.2.16", "192.0.2.25"];

/// The tunnels' end, and a pool.
fn core() -> String {
    let tunnels = "
---
apiVersion: epic.acnodal.io/v1
kind: EPIC
metadata: {name: epic, namespace: epic}
spec: {base: {gue-endpoint: {epic-address: 192.0.2.254}}}
";
    portreeve_tests::epic::pool("198.51.100.0/24", "198.51.100.1-198.51.100.9", "") + tunnels
}

/// A load balancer `web` with two endpoints on the first node and one on the second. Their addresses are the same in each account.
fn service(account: &str) -> String {
    let endpoints = [(NODES[0], 1), (NODES[0], 2), (NODES[1], 3)].map(|(node, number)| {
        format!(
            "
---
apiVersion: epic.acnodal.io/v1
kind: RemoteEndpoint
metadata: {{name: e{number}, namespace: epic-{account}, labels: {{owning-loadbalancer: web}}}}
spec: {{cluster: one, address: 10.244.1.{number}, node-address: {node}, port: {{port: 8080}}}}
"
        )
    });
    let balancer = format!(
        "
---
apiVersion: epic.acnodal.io/v1
kind: LoadBalancer
metadata: {{name: web, namespace: epic-{account}, labels: {{owning-servicegroup: gold}}}}
spec: {{public-address: '', public-ports: [{{port: 80}}], upstream-clusters: [one]}}
"
    );
    balancer + &endpoints.concat()
}

fn api(town: &Town, namespace: &str, of: &Definition) -> Api<DynamicObject> {
    Api::namespaced_with(town.client.clone(), namespace, &(of.resource)())
}

/// Waits until a load balancer has so many tunnels, and returns their ids by node.
async fn tunnels(
    town: &Town,
    (namespace, name): (&str, &str),
    count: usize,
) -> Result<BTreeMap<String, u64>> {
    let api = api(town, namespace, &load_balancer::DEFINITION);
    wait::eventually(&format!("{count} tunnels of {namespace}/{name}"), BOUND, || async {
        let found = api.get(name).await.ok()?;
        let ends = found.data["status"]["gue-tunnel-endpoints"].as_object()?;
        let ids = ends.iter().filter_map(|(node, end)| Some((node.clone(), end["tunnel-id"].as_u64()?)));
        Some(ids.collect::<BTreeMap<_, _>>()).filter(|ids| ids.len() == count)
    })
    .await
}

/// Waits until an object has an id in this field of its spec.
async fn id((api, name): (&Api<DynamicObject>, &str), field: &str) -> Result<u64> {
    wait::eventually(&format!("{field} of {name}"), BOUND, || async {
        let found = api.get(name).await.ok()?;
        found.data["spec"][field].as_u64().filter(|id| *id > 0)
    })
    .await
}

/// Waits until each endpoint of `web` has copies of its ids.
async fn copies(town: &Town, account: &str, tunnels: &BTreeMap<String, u64>) -> Result<()> {
    let namespace = format!("epic-{account}");
    let group = id((&api(town, &namespace, &account::DEFINITION), account), "group-id").await?;
    let service = id((&api(town, &namespace, &load_balancer::DEFINITION), "web"), "service-id").await?;
    let endpoints = api(town, &namespace, &remote_endpoint::DEFINITION);
    for (name, node) in [("e1", NODES[0]), ("e2", NODES[0]), ("e3", NODES[1])] {
        let expected = json!({"group-id": group, "service-id": service, "tunnel-id": tunnels[node]});
        wait::until(&format!("the copies {expected} in {account}/{name}"), BOUND, || async {
            let found = endpoints.get(name).await;
            found.is_ok_and(|found| {
                let same = |field: &str| found.data["status"][field] == expected[field];
                ["group-id", "service-id", "tunnel-id"].iter().all(|field| same(field))
            })
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_load_balancer_has_a_tunnel_to_each_node_with_an_id_that_no_other_has() -> Result<()> {
    let town = Town::start(0).await?;
    town.apply(&core()).await?;
    let mut ids = BTreeSet::new();
    for name in ["a", "b"] {
        let objects = portreeve_tests::epic::account(name, &format!("epic-{name}"));
        town.apply(&(objects + &portreeve_tests::epic::group(name, "gold", true) + &service(name))).await?;
    }
    for name in ["a", "b"] {
        let found = tunnels(&town, (&format!("epic-{name}"), "web"), NODES.len()).await?;
        ensure!(found.keys().eq(NODES), "{found:?}");
        copies(&town, name, &found).await?;
        ids.extend(found.into_values());
    }
    ensure!(ids == BTreeSet::from([1, 2, 3, 4]), "{ids:?}");

    // A load balancer with the name of a former one has ids of its own.
    town.delete(&service("b")).await?;
    let gone = async |of: &Definition| {
        let left = api(&town, "epic-b", of).list(&Default::default()).await;
        left.is_ok_and(|left| left.items.is_empty())
    };
    for of in [&load_balancer::DEFINITION, &remote_endpoint::DEFINITION] {
        wait::until("the objects to be gone", BOUND, || gone(of)).await?;
    }
    town.apply(&service("b")).await?;
    let found = tunnels(&town, ("epic-b", "web"), NODES.len()).await?;
    ensure!(found.values().collect::<BTreeSet<_>>() == BTreeSet::from([&5, &6]), "{found:?}");
    let counters = api(&town, "epic", &epic::DEFINITION).get("epic").await?;
    ensure!(counters.data["status"]["current-tunnel-id"] == 6, "{:?}", counters.data);
    Ok(())
}

/// The samples of E1 as they were in use: the group's pool exists, and the load balancer has an address and a tunnel.
fn in_use() -> Result<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hub/api/tests/epic/e1.yaml");
    let text = fs::read_to_string(path)?;
    let end = "{epic-address: 192.168.1.40, epic-port: {port: 6080, protocol: UDP, appProtocol: gue}, tunnel-id: 4}";
    let text = text
        .replace("owning-serviceprefix: non-default", "owning-serviceprefix: default")
        .replace("public-address: \"\"", "public-address: 192.168.77.2")
        .replace("gue-tunnel-endpoints: {}", &format!("gue-tunnel-endpoints: {{192.168.1.25: {end}}}"));
    kustomize::objects(&text)
}

/// Objects that come after the takeover: a load balancer of the same group with an endpoint on the same node, and an account.
const LATER: &str = "
---
apiVersion: epic.acnodal.io/v1
kind: LoadBalancer
metadata: {name: web, namespace: epic-sample, labels: {owning-servicegroup: sample, owning-serviceprefix: default}}
spec: {public-address: '', public-ports: [{port: 80}], upstream-clusters: [one]}
---
apiVersion: epic.acnodal.io/v1
kind: RemoteEndpoint
metadata: {name: later, namespace: epic-sample, labels: {owning-loadbalancer: web}}
spec: {cluster: one, address: 10.244.1.9, node-address: 192.168.1.25, port: {port: 8080}}
---
apiVersion: epic.acnodal.io/v1
kind: Account
metadata: {name: later, namespace: epic-later}
";

/// The namespaces of E1 and of E3, with the labels by which their controllers knew them.
const NAMESPACES: &str = "
---
apiVersion: v1
kind: Namespace
metadata: {name: epic, labels: {app.kubernetes.io/part-of: epic, app.kubernetes.io/component: namespace}}
---
apiVersion: v1
kind: Namespace
metadata: {name: epic-sample, labels: {app.kubernetes.io/part-of: epic, app.kubernetes.io/component: organization}}
---
apiVersion: v1
kind: Namespace
metadata: {name: epic-later, labels: {app.kubernetes.io/part-of: epic, app.kubernetes.io/component: user-namespace}}
";

#[tokio::test(flavor = "multi_thread")]
async fn e1_objects_in_labelled_namespaces_are_taken_over_and_no_id_is_given_again() -> Result<()> {
    let mut town = Town::without_portreeve(0).await?;
    town.apply(NAMESPACES).await?;
    for object in in_use()? {
        town.apply(&object.to_string()).await?;
        if object.get("status").is_some() {
            manifest::apply_status(&town.client, &object.to_string()).await?;
        }
    }
    let balancers = api(&town, "epic-sample", &load_balancer::DEFINITION);
    let before = balancers.get("sample-web").await?;
    town.start_hub()?;
    town.apply(LATER).await?;

    let found = tunnels(&town, ("epic-sample", "web"), 1).await?;
    ensure!(found.values().eq([&5u64]), "one more than EPIC counted: {found:?}");
    let service = id((&balancers, "web"), "service-id").await?;
    ensure!(service == 4, "one more than the group counted, not {service}");
    let group = id((&api(&town, "epic-later", &account::DEFINITION), "later"), "group-id").await?;
    ensure!(group == 2, "one more than EPIC counted, not {group}");
    let later = balancers.get("web").await?;
    ensure!(later.data["spec"]["public-address"] == "192.168.77.3", "the lowest free one: {:?}", later.data);

    let after = balancers.get("sample-web").await?;
    ensure!(after.data["spec"] == before.data["spec"], "{:?} became {:?}", before.data, after.data);
    let old = &after.data["status"]["gue-tunnel-endpoints"];
    ensure!(
        *old == before.data["status"]["gue-tunnel-endpoints"] && old["192.168.1.25"]["tunnel-id"] == 4,
        "{old}"
    );
    let sample = api(&town, "epic-sample", &account::DEFINITION).get("sample").await?;
    ensure!(sample.data["spec"]["group-id"] == 1, "{:?}", sample.data);
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(town.client.clone());
    let labels = namespaces.get("epic-sample").await?.metadata.labels.context("labels")?;
    ensure!(labels["app.kubernetes.io/component"] == "organization", "{labels:?}");
    Ok(())
}
