//! A customer's node that knows EPIC by its web service alone: it announces its pods there, and reads its tunnels.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::ListParams;
use portreeve_api::c::remote_endpoint::RemoteEndpoint;
use portreeve_tests::certs::Authority;
use portreeve_tests::process::Process;
use portreeve_tests::town::BOUND;
use portreeve_tests::town::trust::API_AUDIENCE;
use portreeve_tests::tunnels::{self, CustomerNode};
use portreeve_tests::{kustomize, path, under_test, wait};
use serde_json::json;

use crate::epic_orders::{GROUP, Market, PASSWORD};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 200, 1);
const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 5);
/// The node's name in the customer's cluster.
const NODE: &str = "customer-1";
/// The cluster, as PureLB would name it.
const CLUSTER: &str = "purelb-default-web";

/// The Service, marked as PureLB does after its order, and its pods on the node, of which the second isn't ready.
fn service(service: &str, cluster: &str) -> String {
    let host = "https://epic.example.com";
    format!(
        "
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: default
  annotations:
    acnodal.io/groupURL: {host}{GROUP}
    acnodal.io/serviceURL: {host}{service}
    acnodal.io/endpointcreateURL: {host}{service}/endpoints
    acnodal.io/clusterURL: {cluster}
spec: {{ports: [{{name: sip, port: 5060, protocol: UDP}}]}}
"
    )
}

/// The Service's pods.
fn slice() -> String {
    format!(
        "
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: default, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: sip, port: 6000, protocol: UDP}}]
endpoints:
- {{addresses: [{POD}], nodeName: {NODE}, conditions: {{ready: true}}}}
- {{addresses: [10.244.1.6], nodeName: {NODE}, conditions: {{ready: false}}}}
- {{addresses: [10.244.2.5], nodeName: customer-2, conditions: {{ready: true}}}}
"
    )
}

/// Returns what the role may read in the customer's cluster: all of the example but its DaemonSet.
fn rights() -> Result<String> {
    let file = kustomize::deploy().join("examples/epic-customer/purelb.yaml");
    let text = fs::read_to_string(file)?;
    let parts = text.split("\n---\n").filter(|part| !part.contains("kind: DaemonSet"));
    Ok(parts.map(|part| format!("\n---\n{part}\n")).collect())
}

/// Starts the role on a customer's node.
async fn start(market: &Market, node: &CustomerNode, files: &tempfile::TempDir) -> Result<Process> {
    let password = files.path().join("password");
    fs::write(&password, format!("{PASSWORD}\n"))?;
    let token = market.town.control.unbound_token(("gue-client", "gue-client"), API_AUDIENCE).await?;
    let kubeconfig = market.town.control.kubeconfig_with("gue-client", &token)?;
    let mut command = under_test::command_in(&node.netns, "agent")?;
    command.args(["gue-client", "--epic-url", &format!("https://{}", market.address), "--epic-user", "a"]);
    command.arg("--epic-password").arg(password).arg("--epic-ca").arg(files.path().join("ca.pem"));
    command
        .args(["--node", NODE, "--node-address", &node.address().to_string(), "--kubeconfig"])
        .arg(kubeconfig);
    Process::spawn("gue-client-web", command.env("NO_COLOR", "1"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_announced_reached_and_withdrawn_by_the_web_service_alone() -> Result<()> {
    let files = tempfile::tempdir()?;
    let authority = Authority::new("EPIC of a test")?;
    fs::write(files.path().join("ca.pem"), authority.pem())?;
    let pair = authority.serving(files.path(), &["10.77.0.1", "portreeve-hub"])?;
    let tls = [("cert", &pair.certificate), ("key", &pair.key)];
    let args = tls.map(|(name, file)| format!("--epic-tls-{name}={}", file.display()));
    let market = Market::open_with(1, "10.77.200.1-10.77.200.9", &["a"], &args).await?;
    let town = &market.town;
    town.gateways_with("  allowedNamespaces: {from: List, names: [epic-a]}\n").await?;
    town.nodes[0].netns.add_address(ADDRESS.into())?;
    let _carrier = tunnels::carrier(town, 0)?;
    let node = CustomerNode::attach(town, 12, "a")?;
    let _pod = node.pod("pod", POD, [7000, 6000])?;

    // What PureLB's allocator does.
    let mut client = market.client_of(Some(("a", PASSWORD)), &files.path().join("ca.pem"))?;
    let ports = json!([{"name": "sip", "port": 5060, "protocol": "UDP"}]);
    let (ordered, cluster) = market.run(async {
        let ordered = client.order(GROUP, "web", &ports).await?;
        let cluster = client.join(&ordered, CLUSTER).await?;
        Ok((ordered, cluster))
    })?;
    town.apply(&(rights()? + &service(&ordered.path, &cluster) + &slice())).await?;
    let mut role = start(&market, &node, &files).await?;
    let gateway = SocketAddr::new(ADDRESS.into(), 5060);
    path::opens(town.bed.root(), gateway, "pod", BOUND)?;
    let endpoints = Api::<RemoteEndpoint>::namespaced(town.client.clone(), "epic-a");
    let listed = endpoints.list(&ListParams::default()).await?.items;
    let [only] = listed.as_slice() else {
        anyhow::bail!("only the ready pod of the node is announced: {listed:?}")
    };
    ensure!(only.spec.cluster.as_deref() == Some(CLUSTER), "{:?}", only.spec);

    // Another process finds what the one before announced.
    role.kill();
    let mut role = start(&market, &node, &files).await?;
    path::opens(town.bed.root(), gateway, "pod", BOUND)?;
    ensure!(endpoints.list(&ListParams::default()).await?.items.len() == 1, "it is the same endpoint");

    town.delete(&slice()).await?;
    wait::until("the endpoint to be withdrawn", BOUND, || async {
        endpoints.list(&ListParams::default()).await.is_ok_and(|all| all.items.is_empty())
    })
    .await?;
    let led = || async {
        tunnels::dump(&node.netns).is_ok_and(|all| !all.iter().any(|line| line.contains("proto 83")))
    };
    wait::until("no rule and route", BOUND, led).await?;
    role.terminate()?;
    let ended = role.wait_exit(BOUND).context("the role ends")?;
    ensure!(ended.success(), "{}", role.log());
    Ok(())
}
