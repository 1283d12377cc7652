//! Load balancers whose groups have a template, on one real Envoy: equal templates of two accounts, HTTP, and a template that
//! is refused.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::ApiResource;
use kube::core::DynamicObject;
use portreeve_api::c::load_balancer;
use portreeve_tests::greeter::{Greeter, greeting};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::Echo;
use portreeve_tests::{epic, http, path, wait};
use serde_json::{Value, json};

const UDP: u16 = 6000;
const TCP: u16 = 7000;
const PUBLIC: [u16; 2] = [8080, 5060];

const CLUSTER: &str = "{name: '{{.ClusterName}}-{{.ServiceName}}', connect_timeout: 1s, type: EDS, \
     eds_cluster_config: {service_name: '{{.ClusterName}}', eds_config: {ads: {}}}}";

/// A listener with the sessions of its protocol. The endpoints of all ports are in one cluster, so each has a list of its own.
const SESSIONS: &str = "
name: '{{.PortName}}'
address: {socket_address: {address: 0.0.0.0, port_value: {{.Port}}, protocol: {{.Protocol | ToUpper}}}}
{{- if eq (.Protocol | ToUpper) \"UDP\"}}
udp_listener_config: {downstream_socket_config: {max_rx_datagram_size: 9000}}
listener_filters:
- name: envoy.filters.udp_listener.udp_proxy
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig
    stat_prefix: datagrams
    matcher:
      on_no_match:
        action:
          name: route
          typed_config:
            '@type': type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route
            cluster: udp
{{- else}}
filter_chains:
- filters:
  - name: envoy.filters.network.tcp_proxy
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: connections
      cluster: tcp
{{- end}}
";

/// A cluster with the endpoints of one protocol.
fn cluster_of(protocol: &str) -> String {
    let lower = protocol.to_lowercase();
    format!(
        "
name: {lower}
connect_timeout: 1s
type: STATIC
load_assignment:
  cluster_name: {lower}
  endpoints:
  - lb_endpoints:
{{{{- range .Endpoints}}}}
{{{{- if eq (.Spec.Port.Protocol | ToUpper) \"{protocol}\"}}}}
    - endpoint: {{address: {{socket_address: {{address: '{{{{.Spec.Address}}}}', port_value: {{{{.Spec.Port.Port}}}}, protocol: {protocol}}}}}}}
{{{{- end}}}}
{{{{- end}}}}
"
    )
}

/// An HTTP listener in the manner of E1's samples: API v2, a bare router, and a weighted cluster.
const WEB: &str = "
name: '{{.PortName}}'
address: {socket_address: {address: 0.0.0.0, port_value: {{.Port}}, protocol: {{.Protocol | ToUpper}}}}
filter_chains:
- filters:
  - name: envoy.http_connection_manager
    config:
      stat_prefix: web
      http_protocol_options: {accept_http_10: true}
      route_config:
        name: web
        virtual_hosts:
        - name: web
          domains: ['*']
          routes:
          - match: {prefix: /hello}
            direct_response: {status: 200, body: {inline_string: 'hello of {{.ServiceName}}'}}
          - match: {prefix: /}
            route:
              weighted_clusters:
                total_weight: {{.TotalWeight}}
                clusters:
                {{- range .Clusters}}
                - {name: '{{.}}-{{$.ServiceName}}', weight: {{$.ClusterWeight}}}
                {{- end}}
      http_filters: [{name: envoy.router}]
";

fn template(api: &str, clusters: &[&str], listener: &str) -> String {
    let named = |value: &&str| json!({"name": "SET_BY_EPIC", "value": value});
    let clusters: Vec<Value> = clusters.iter().map(named).collect();
    let resources = json!({"clusters": clusters, "listeners": [named(&listener)]});
    let template = json!({
        "nodeID": "SET_BY_EPIC", "serialization": "yaml", "envoyAPI": api, "envoyResources": resources,
    });
    json!({"can-be-shared": true, "envoy-template": template}).to_string()
}

/// Creates an account with a group of this spec, and its load balancer `web`.
async fn create(town: &Town, account: &str, spec: &str, (address, ports): (IpAddr, &str)) -> Result<()> {
    let namespace = format!("epic-{account}");
    let objects = epic::account(account, &namespace) + &epic::group_of(account, "gold", spec);
    let balanced = format!(
        "
---
apiVersion: epic.acnodal.io/v1
kind: LoadBalancer
metadata: {{name: web, namespace: {namespace}, labels: {{owning-servicegroup: gold}}}}
spec: {{public-address: '{address}', public-ports: {ports}, upstream-clusters: [one]}}
"
    );
    town.apply(&(objects + &balanced)).await
}

/// Waits for a condition of an account's load balancer, and returns its message.
async fn condition(town: &Town, account: &str, (ty, status): (&str, &str)) -> Result<String> {
    let resource: ApiResource = (load_balancer::DEFINITION.resource)();
    let namespace = format!("epic-{account}");
    let api = Api::<DynamicObject>::namespaced_with(town.client.clone(), &namespace, &resource);
    wait::eventually(&format!("{namespace}/web: {ty}={status}"), BOUND, || async {
        let found = api.get("web").await.ok()?;
        let conditions = found.data["status"]["conditions"].as_array()?.clone();
        let one = conditions.into_iter().find(|one| one["type"] == ty && one["status"] == status)?;
        one["message"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_templates_of_two_accounts_lead_to_their_own_endpoints() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways_with("  allowedNamespaces: {from: List, names: [epic-a, epic-b, epic-c, epic-d]}\n")
        .await?;
    let root = town.bed.root();
    let node = &town.nodes[0];
    let addresses: Vec<IpAddr> = (1..=3).map(|last| IpAddr::from([10, 77, 200, last])).collect();
    addresses.iter().try_for_each(|address| node.netns.add_address(*address))?;
    let clusters = [cluster_of("TCP"), cluster_of("UDP")];
    let spec = template("v3", &[&clusters[0], &clusters[1]], SESSIONS);
    let mut servers = Vec::new();
    let ports = "[{port: 8080}, {port: 5060, protocol: UDP}]";
    for (number, account, address) in [(1, "a", addresses[0]), (2, "b", addresses[1])] {
        let pod = town.worker(1, number, "app: customer", false).await?;
        servers.push((
            Echo::start(&pod.netns, &pod.name, SocketAddr::new(pod.ip(), UDP))?,
            Greeter::start(&pod.netns, &pod.name, SocketAddr::new(pod.ip(), TCP))?,
        ));
        create(&town, account, &spec, (address, ports)).await?;
        town.apply(&epic::endpoints(account, pod.ip(), [TCP, UDP])).await?;
        condition(&town, account, ("Programmed", "True")).await?;
        path::opens(root, SocketAddr::new(address, PUBLIC[1]), &pod.name, BOUND)?;
        let (by, ..) = greeting(root, SocketAddr::new(address, PUBLIC[0]))?.context("nobody greets")?;
        ensure!(by.contains(&pod.name), "{account}: {by} greets, not {}", pod.name);
    }

    create(&town, "c", &template("v2", &[CLUSTER], WEB), (addresses[2], "[{port: 8080}]")).await?;
    condition(&town, "c", ("Programmed", "True")).await?;
    let to = SocketAddr::new(addresses[2], PUBLIC[0]);
    ensure!(http::get(root, to, "/hello")? == (200, "hello of web".to_owned()), "no HTTP");
    let (status, text) = http::get(root, to, "/")?;
    ensure!(status == 503, "{status} {text}: the cluster has no endpoint");

    let thief = SESSIONS.replace("cluster: tcp", "cluster: C/LoadBalancer/epic-a/web/tcp");
    create(&town, "d", &template("v3", &[&clusters[0], &clusters[1]], &thief), (node.address(), ports))
        .await?;
    let why = condition(&town, "d", ("Accepted", "False")).await?;
    ensure!(why.contains("spec.envoy-template of group gold: envoyResources.listeners[0]"), "{why}");
    ensure!(why.contains("the template has no cluster C/LoadBalancer/epic-a/web/tcp"), "{why}");
    for address in &addresses[..2] {
        let answered = path::answered(root, SocketAddr::new(*address, PUBLIC[1]), BOUND)?;
        ensure!(answered.answered_by().len() == 1, "{address}: {:?}", answered.answered_by());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_acknowledged_by_an_envoy() -> Result<()> {
    let town = Town::start(1).await?;
    let samples = ["v2", "inline"];
    let namespaces = samples.map(|name| format!("epic-{name}")).join(", ");
    town.gateways_with(&format!("  allowedNamespaces: {{from: List, names: [{namespaces}]}}\n")).await?;
    for (sample, last) in samples.into_iter().zip(1..) {
        let path = format!("{}/../hub/template/tests/samples/{sample}.yaml", env!("CARGO_MANIFEST_DIR"));
        let template: Value = serde_yaml::from_str(&std::fs::read_to_string(path)?)?;
        let spec = json!({"can-be-shared": true, "envoy-template": template}).to_string();
        create(&town, sample, &spec, ([10, 77, 200, last].into(), "[{port: 8080}]")).await?;
        town.apply(&epic::endpoints(sample, [10, 244, 0, 9].into(), [TCP, UDP])).await?;
        condition(&town, sample, ("Programmed", "True")).await?;
    }
    Ok(())
}
