//! Measures one pod's change in the hub's index against the size of the cluster: its cost must not grow with pods, gateways or
//! objects, and only with the connected agents that are concerned. Groups have 100 pods and nodes 30. Then it measures how a
//! NodeProxy is widened to all nodes.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::own::node_proxy::NodeProxy;
use portreeve_api::pod::Pod;
use portreeve_hub::index::Index;
use portreeve_hub::selection::SelectorScope;
use serde_json::json;

fn pod(i: u32, app: &str, ready: bool) -> Pod {
    Pod {
        uid: format!("uid-{i}").into(),
        namespace: "default".into(),
        name: format!("pod-{i}").into(),
        labels: BTreeMap::from([
            ("app".to_string(), app.to_string()),
            ("pod-template-hash".to_string(), format!("{app}-7d4f")),
        ]),
        node: Some(format!("node-{}", i / 30).into()),
        ips: vec![IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i))],
        ready,
        host_network: false,
        created_ms: 0,
        terminating_ms: 0,
        finished: false,
        node_proxy: None,
        service_account: String::new(),
        static_uid: None,
        l7mp: None,
        extra: BTreeMap::new(),
    }
}

fn service(i: u32) -> VirtualService {
    let endpoint = json!({"name": "w", "host": {"selector": {"app": format!("app-{i}")}}, "port": 9000});
    let cluster = json!({"name": "c", "service_discovery": "eds", "endpoints": [endpoint]});
    let object = json!({
        "apiVersion": "servicemesh.l7mp.io/v1", "kind": "VirtualService",
        "metadata": {"name": format!("vs-{i}"), "namespace": "default"},
        "spec": {"selector": {"app": "gateway"},
            "listeners": [{"name": "l", "udp": {"port": 5000, "cluster": cluster}}]},
    });
    serde_json::from_value(object).unwrap_or_default()
}

/// A NodeProxy that takes all objects, on nodes with the label `gateway=yes`.
fn proxy(selector: &str) -> NodeProxy {
    let object = json!({
        "apiVersion": "portreeve.dev/v1alpha1", "kind": "NodeProxy", "metadata": {"name": "edge"},
        "spec": {"nodeSelector": {"gateway": selector}, "labels": {"app": "gateway"}, "allowedNamespaces": {"from": "All"}},
    });
    serde_json::from_value(object).unwrap_or_default()
}

/// The size of a cluster.
#[derive(Clone, Copy)]
struct Size {
    pods: u32,
    nodes: u32,
    gateways: u32,
    services: u32,
    connected: u32,
}

fn filled(Size { pods, nodes, gateways, services, connected }: Size) -> Index {
    let mut index = Index::new(SelectorScope::Namespace, 0);
    let name = |i: u32| format!("node-{i}").into();
    (0..connected).for_each(|i| index.attach(&name(i)));
    for i in 0..nodes {
        let gateway = if i < gateways { "yes" } else { "no" };
        let labels = [("gateway", gateway), ("any", "yes")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        index.apply_node(name(i), labels.into(), 0);
    }
    for i in 0..pods {
        index.apply_pod(pod(i, &format!("app-{}", i / 100), true), 0);
    }
    index.apply_proxy(&proxy("yes"), 0);
    (0..services).for_each(|i| index.apply(&service(i)));
    assert_eq!(index.take().len(), connected as usize, "each gateway must have got its Plans");
    index
}

/// Changes the readiness of pods in used groups in turn. Each change affects all connected gateways.
fn one_change(c: &mut Criterion, of: &str, sizes: impl IntoIterator<Item = (u32, Size)>) {
    let mut group = c.benchmark_group(of);
    for (parameter, size) in sizes {
        let (mut index, mut turn) = (filled(size), 0u32);
        let used = (size.services * 100).min(size.pods);
        group.bench_function(BenchmarkId::from_parameter(parameter), |b| {
            b.iter(|| {
                let (i, ready) = (turn % used, (turn / used) % 2 == 1);
                turn += 1;
                index.apply_pod(pod(i, &format!("app-{}", i / 100), ready), 0);
                let changes = black_box(index.take());
                assert_eq!(changes.len(), size.connected as usize);
            });
        });
    }
    group.finish();
}

fn benchmark(c: &mut Criterion) {
    const BASE: Size = Size { pods: 150_000, nodes: 5_000, gateways: 10, services: 10, connected: 10 };
    let pods = [1_000, 10_000, 150_000].map(|pods| (pods, Size { pods, ..BASE }));
    one_change(c, "one pod's change, by pods", pods);
    let gateways = [10, 500, 5_000].map(|gateways| (gateways, Size { gateways, ..BASE }));
    one_change(c, "one pod's change, by gateways", gateways);
    let services = [10, 1_000].map(|services| (services, Size { services, ..BASE }));
    one_change(c, "one pod's change, by objects", services);
    let connected = [1, 50, 500].map(|connected| (connected, Size { gateways: 5_000, connected, ..BASE }));
    one_change(c, "one pod's change, by connected gateways", connected);
    widening(c, Size { services: 1_000, ..BASE });
}

/// Widens a NodeProxy from 10 to 5,000 nodes, and back.
fn widening(c: &mut Criterion, size: Size) {
    let mut group = c.benchmark_group("a NodeProxy from 10 to 5,000 nodes, and back");
    group.sample_size(10);
    let mut wide = proxy("yes");
    wide.spec.node_selector = [("any".to_owned(), "yes".to_owned())].into();
    for connected in [10, 500] {
        let mut index = filled(size);
        (0..connected).for_each(|i| index.attach(&format!("node-{i}").into()));
        let mut edit = |proxy: &NodeProxy| {
            index.apply_proxy(proxy, 0);
            index.tick(1);
            black_box(index.take());
        };
        group.bench_function(BenchmarkId::from_parameter(connected), |b| {
            b.iter(|| {
                edit(&wide);
                edit(&proxy("yes"));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
