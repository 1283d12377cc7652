//! Objects of API C for scenarios, as YAML: [`account`], [`group`], [`load_balancer`], [`endpoints`] and [`pool`]. Each begins
//! with a document separator.

use std::net::IpAddr;

/// The annotation by which the towns' gateways serve a group.
const GATEWAYS: &str = "  annotations: {portreeve.dev/gateways: app=envoy-ingress}\n";

/// Returns an account's namespace, `epic-<name>`, and its Account in the namespace `at`.
pub fn account(name: &str, at: &str) -> String {
    format!(
        "
---
apiVersion: v1
kind: Namespace
metadata: {{name: epic-{name}}}
---
apiVersion: epic.acnodal.io/v1
kind: Account
metadata: {{name: {name}, namespace: {at}}}
spec: {{}}
"
    )
}

/// Returns a ServiceGroup of an account, for the towns' gateways. Its services can be `shared` or not.
pub fn group(account: &str, name: &str, shared: bool) -> String {
    group_of(account, name, &format!("{{can-be-shared: {shared}}}"))
}

/// Returns a ServiceGroup of an account, for the towns' gateways, with this spec in YAML's flow form.
pub fn group_of(account: &str, name: &str, spec: &str) -> String {
    format!(
        "
---
apiVersion: epic.acnodal.io/v1
kind: ServiceGroup
metadata:
  name: {name}
  namespace: epic-{account}
  labels: {{owning-account: {account}}}
{GATEWAYS}spec: {spec}
"
    )
}

/// Returns the namespace `epic` with a ServicePrefix `default` of these addresses in a subnet, and its gateway.
pub fn pool(subnet: &str, addresses: &str, gateway: &str) -> String {
    format!(
        "
---
apiVersion: v1
kind: Namespace
metadata: {{name: epic}}
---
apiVersion: epic.acnodal.io/v1
kind: ServicePrefix
metadata: {{name: default, namespace: epic}}
spec: {{subnet: {subnet}, pool: {addresses}, gateway: '{gateway}'}}
"
    )
}

/// Returns a load balancer of the group `gold` with a TCP and a UDP port, which the cluster `one` uses.
pub fn load_balancer(account: &str, address: IpAddr, [tcp, udp]: [u16; 2]) -> String {
    format!(
        "
---
apiVersion: epic.acnodal.io/v1
kind: LoadBalancer
metadata: {{name: web, namespace: epic-{account}, labels: {{owning-servicegroup: gold}}}}
spec:
  public-address: {address}
  public-ports: [{{name: http, port: {tcp}}}, {{name: sip, port: {udp}, protocol: UDP}}]
  upstream-clusters: [one]
"
    )
}

/// Returns the endpoints of that load balancer: a TCP and a UDP port of a pod, which is reached without a tunnel.
pub fn endpoints(account: &str, pod: IpAddr, [tcp, udp]: [u16; 2]) -> String {
    let one = |name: &str, protocol: &str, port: u16| {
        format!(
            "
---
apiVersion: epic.acnodal.io/v1
kind: RemoteEndpoint
metadata: {{name: {name}, namespace: epic-{account}, labels: {{epic.acnodal.io/owning-loadbalancer: web}}}}
spec: {{cluster: one, address: {pod}, node-address: '', port: {{name: {name}, port: {port}, protocol: {protocol}}}}}
"
        )
    };
    one("http", "TCP", tcp) + &one("sip", "UDP", udp)
}
