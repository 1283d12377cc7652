//! Static Services of a folder as host names: where no cluster DNS runs, they are what a name stands for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use portreeve_api::pod::Pod;

/// Complete host names (without a trailing dot) and their addresses: the pods that a Service selects in its own
/// namespace, or its cluster IP when it has no selector.
pub fn names(services: &[Service], pods: &[Pod], domain: &str) -> BTreeMap<String, Vec<IpAddr>> {
    let named = services.iter().map(|service| {
        let namespace = service.namespace().unwrap_or_else(|| "default".into());
        let name = format!("{}.{namespace}.svc.{domain}", service.name_any()).to_ascii_lowercase();
        (name, addresses(service, &namespace, pods))
    });
    named.collect()
}

fn addresses(service: &Service, namespace: &str, pods: &[Pod]) -> Vec<IpAddr> {
    let spec = service.spec.clone().unwrap_or_default();
    let Some(selector) = spec.selector.filter(|s| !s.is_empty()) else {
        return spec.cluster_ip.iter().filter_map(|ip| ip.parse().ok()).collect();
    };
    let selected = |pod: &&Pod| {
        let labels = selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
        labels && *pod.namespace == *namespace && pod.terminating_ms == 0 && pod.endpoint().is_some()
    };
    pods.iter().filter(selected).filter_map(|pod| pod.ips.first().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(spec: serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "echo", "namespace": "ns"}, "spec": spec}))
            .unwrap()
    }

    fn pod(name: &str, ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        let object = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "echo"}},
            "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": status}]},
        });
        Pod::from_kube(serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn a_services_name_stands_for_the_ready_pods_that_it_selects() {
        let services = [service(json!({"selector": {"app": "echo"}, "clusterIP": "10.96.0.9"}))];
        let found = names(&services, &[pod("a", true), pod("b", false)], "cluster.local");
        assert_eq!(found["echo.ns.svc.cluster.local"], ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_service_without_selector_stands_for_its_cluster_ip() {
        let found = names(&[service(json!({"clusterIP": "10.96.0.9"}))], &[], "cluster.local");
        assert_eq!(found["echo.ns.svc.cluster.local"], ["10.96.0.9".parse::<IpAddr>().unwrap()]);
    }
}
