//! Measures one endpoint's change, from the assignment that contains it to encoded bytes for every stream, without
//! sockets.
//!
//! The cost must not grow with the number of clusters: with 10,000 it may be at most 1.3 times that with 100. Two parts
//! are measured separately: the same change with an already encoded body (`xds_bytes`), and the cost on this machine of
//! replacing a resource in a plain array of the same size (`xds_floor`). The floor grows because the resources no
//! longer fit into the nearest cache.
//!
//! First, `side by side` measures all sizes in turn, a hundred times, and prints the median of each. There, other work
//! on the machine affects all sizes alike. Criterion measures one size after the other, so it may report one of them as
//! half as large again.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, HealthStatus, SocketAddress, address};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use portreeve_xds::encode::encode;
use portreeve_xds::{Changes, EnvoyType, Kind, Request, Resource, Snapshot, Variant, View, Watch};
use prost::Message as _;

const CLUSTERS: [usize; 3] = [100, 1_000, 10_000];
const STREAMS: [usize; 2] = [1, 50];
/// Size of an assignment with ten endpoints, in bytes.
const BODY: usize = 400;
const ENDPOINTS: u8 = 10;
/// A prime, so that every cluster is changed in turn and consecutive changes don't affect neighbours.
const STRIDE: usize = 7_919;
/// Number of turns of the sizes side by side, and number of changes per turn, over all streams.
const ROUNDS: usize = 101;
const CHANGES: u32 = 10_000;

fn name(at: usize) -> String {
    format!("cluster-{at:05}")
}

fn snapshot(clusters: usize) -> Snapshot<EnvoyType> {
    let mut snapshot = Snapshot::new();
    for at in 0..clusters {
        let name = name(at);
        let cluster = Resource::with_companion(EnvoyType::Cluster, name.as_str(), &[1; 100], name.as_str());
        snapshot.insert(EnvoyType::Cluster, cluster);
        snapshot.insert(EnvoyType::Endpoint, Resource::new(EnvoyType::Endpoint, name.as_str(), &[1; BODY]));
    }
    snapshot
}

/// Sends and acknowledges everything that is due. Returns the number of responses.
fn settle(watch: &mut Watch<EnvoyType>, out: &mut Vec<u8>) -> usize {
    let mut count = 0;
    while let Some(response) = watch.next(Instant::now()) {
        out.clear();
        encode(&response, out);
        black_box(&out);
        let Some(ty) = response.ty else { continue };
        let ack = Request { nonce: response.nonce, ..Request::new(Kind::Known(ty)) };
        watch.request(ack, Instant::now());
        watch.events();
        count += 1;
    }
    count
}

/// Creates streams that have everything, like Envoys: all clusters, assignments by name.
fn established(view: &Arc<View<EnvoyType>>, streams: usize, clusters: usize) -> Vec<Watch<EnvoyType>> {
    let mut out = Vec::new();
    let establish = |_| {
        let mut watch = Watch::new(view.clone(), Variant::Delta, None);
        watch.request(Request::new(Kind::Known(EnvoyType::Cluster)), Instant::now());
        let subscribe = (0..clusters).map(name).collect();
        let request = Request { subscribe, ..Request::new(Kind::Known(EnvoyType::Endpoint)) };
        watch.request(request, Instant::now());
        settle(&mut watch, &mut out);
        watch
    };
    (0..streams).map(establish).collect()
}

/// Encodes an assignment with ten endpoints, as a server would. The turn determines whether one of them is healthy.
fn assignment(at: usize, turn: usize) -> Vec<u8> {
    let [.., high, low] = at.to_be_bytes();
    let endpoint = |i: u8| {
        let socket = SocketAddress {
            address: std::net::Ipv4Addr::new(10, high, low, i).to_string(),
            port_specifier: Some(PortSpecifier::PortValue(9000)),
            ..SocketAddress::default()
        };
        let address = Some(Address { address: Some(address::Address::SocketAddress(socket)) });
        let host = HostIdentifier::Endpoint(Endpoint { address, ..Endpoint::default() });
        let healthy = i != 0 || turn.is_multiple_of(2);
        let health_status = if healthy { HealthStatus::Healthy } else { HealthStatus::Unhealthy }.into();
        LbEndpoint { host_identifier: Some(host), health_status, ..LbEndpoint::default() }
    };
    let lb_endpoints = (0..ENDPOINTS).map(endpoint).collect();
    let endpoints = vec![LocalityLbEndpoints { lb_endpoints, ..LocalityLbEndpoints::default() }];
    ClusterLoadAssignment { cluster_name: name(at), endpoints, ..ClusterLoadAssignment::default() }
        .encode_to_vec()
}

/// Returns a body of the same size, which differs at each turn.
fn bytes(_at: usize, turn: usize) -> Vec<u8> {
    let mut body = vec![1; BODY];
    body[..8].copy_from_slice(&turn.to_le_bytes());
    body
}

/// Creates a view with this number of clusters, and streams that have all of it.
struct Scene {
    clusters: usize,
    view: Arc<View<EnvoyType>>,
    watches: Vec<Watch<EnvoyType>>,
    turn: usize,
    out: Vec<u8>,
}

impl Scene {
    fn new(streams: usize, clusters: usize) -> Self {
        let view = View::new(snapshot(clusters));
        let watches = established(&view, streams, clusters);
        Self { clusters, view, watches, turn: 0, out: Vec::new() }
    }

    /// Changes an endpoint of the next cluster.
    fn change(&mut self, body: fn(usize, usize) -> Vec<u8>) {
        self.turn += 1;
        let at = self.turn * STRIDE % self.clusters;
        let changed = Resource::new(EnvoyType::Endpoint, name(at), &body(at, self.turn / self.clusters));
        let upsert = vec![(EnvoyType::Endpoint, changed)];
        assert_eq!(self.view.apply(Changes { upsert, remove: Vec::new() }), 1);
        let out = &mut self.out;
        let sent: usize = self.watches.iter_mut().map(|watch| settle(watch, out)).sum();
        assert_eq!(sent, self.watches.len());
    }
}

fn side_by_side(_: &mut Criterion) {
    for streams in STREAMS {
        let mut scenes = CLUSTERS.map(|clusters| (Scene::new(streams, clusters), Vec::new()));
        let changes = CHANGES / streams as u32;
        for _ in 0..ROUNDS {
            for (scene, rounds) in &mut scenes {
                let begun = Instant::now();
                (0..changes).for_each(|_| scene.change(assignment));
                rounds.push(begun.elapsed() / changes);
            }
        }
        let medians = scenes.map(|(scene, mut rounds)| {
            rounds.sort();
            (scene.clusters, rounds[rounds.len() / 2])
        });
        for (clusters, median) in medians {
            let times = median.as_secs_f64() / medians[0].1.as_secs_f64();
            println!("side by side/{streams} streams/{clusters}: {median:.2?}, {times:.2} times the first");
        }
    }
}

fn change(criterion: &mut Criterion) {
    changes(criterion, "xds_change", assignment);
    changes(criterion, "xds_bytes", bytes);
}

fn changes(criterion: &mut Criterion, name_of_group: &str, body: fn(usize, usize) -> Vec<u8>) {
    let mut group = criterion.benchmark_group(name_of_group);
    for streams in STREAMS {
        for clusters in CLUSTERS {
            let mut scene = Scene::new(streams, clusters);
            let id = BenchmarkId::new(format!("{streams} streams"), clusters);
            group.bench_function(id, |bench| bench.iter(|| scene.change(body)));
        }
    }
    group.finish();
}

fn floor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("xds_floor");
    for clusters in CLUSTERS {
        let resource = |at: usize, turn: usize| {
            let mut body = [1; BODY];
            body[..8].copy_from_slice(&turn.to_le_bytes());
            Resource::new(EnvoyType::Endpoint, name(at), &body)
        };
        let mut held: Vec<Arc<Resource>> = (0..clusters).map(|at| resource(at, 0)).collect();
        let mut turn = 0usize;
        group.bench_function(BenchmarkId::from_parameter(clusters), |bench| {
            bench.iter(|| {
                turn += 1;
                let at = turn * STRIDE % clusters;
                held[at] = black_box(resource(at, turn));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, side_by_side, change, floor);
criterion_main!(benches);
