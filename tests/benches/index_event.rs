//! Measures one pod's change in the hub's index with 1,000, 10,000 and 100,000 pods: the cost of an event must not grow
//! with the cluster. Groups have 100 pods and nodes 50. Each of ten VirtualServices uses one of ten groups from one
//! gateway node.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portreeve_api::a::virtual_service::VirtualService;
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
        node: Some(format!("node-{}", i / 50).into()),
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
        "spec": {"selector": {"app": format!("gateway-{i}")},
            "listeners": [{"name": "l", "udp": {"port": 5000, "cluster": cluster}}]},
    });
    serde_json::from_value(object).unwrap_or_default()
}

fn filled(pods: u32) -> Index {
    let mut index = Index::new(SelectorScope::Namespace, 0);
    for i in 0..pods {
        index.apply_pod(pod(i, &format!("app-{}", i / 100), true), 0);
    }
    for i in 0..10 {
        let node = (pods + i) / 50;
        index.attach(&format!("node-{node}").as_str().into());
        index.apply_pod(pod(pods + i, &format!("gateway-{i}"), true), 0);
        index.apply(&service(i));
    }
    assert!(!index.take().is_empty(), "the gateways' nodes must have got their Plans");
    index
}

fn benchmark(c: &mut Criterion) {
    let mut group = c.benchmark_group("one pod's change");
    for pods in [1_000, 10_000, 100_000] {
        let mut index = filled(pods);
        let mut turn = 0u32;
        group.bench_function(BenchmarkId::from_parameter(pods), |b| {
            b.iter(|| {
                // Changes the readiness of pods in the ten used groups in turn. Each change affects one gateway's node.
                let (i, ready) = (turn % 1_000, (turn / 1_000) % 2 == 1);
                turn += 1;
                index.apply_pod(pod(i, &format!("app-{}", i / 100), ready), 0);
                let changes = black_box(index.take());
                assert_eq!(changes.len(), 1);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
