//! One endpoint's change from the view to encoded bytes for every stream, without sockets.
//!
//! The cost must not grow with the number of clusters: 10,000 at most 1.3 times 100. Beside it the floor: what it costs on
//! this machine to put one new resource into the place of an old one, in a plain array of as many. What grows there is the
//! memory of the resources themselves, which no longer fits the nearest cache.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portreeve_xds::encode::encode;
use portreeve_xds::{Changes, EnvoyType, Kind, Request, Resource, Snapshot, Variant, View, Watch};

const CLUSTERS: [usize; 3] = [100, 1_000, 10_000];
const STREAMS: [usize; 2] = [1, 50];
/// The size of an assignment with ten endpoints, bytes.
const BODY: usize = 400;
/// Prime, so that every cluster has its turn and neighbours do not follow each other.
const STRIDE: usize = 7_919;

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

/// Sends everything that is due, ACKed; returns how many responses.
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

/// Streams that have everything, as Envoys do: all clusters, assignments by name.
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

fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("xds_change");
    for streams in STREAMS {
        for clusters in CLUSTERS {
            let view = View::new(snapshot(clusters));
            let mut watches = established(&view, streams, clusters);
            let (mut turn, mut out) = (0usize, Vec::new());
            group.bench_function(BenchmarkId::new(format!("{streams} streams"), clusters), |bench| {
                bench.iter(|| {
                    turn += 1;
                    let mut body = [1; BODY];
                    body[..8].copy_from_slice(&turn.to_le_bytes());
                    let changed = Resource::new(EnvoyType::Endpoint, name(turn * STRIDE % clusters), &body);
                    let upsert = vec![(EnvoyType::Endpoint, changed)];
                    assert_eq!(view.apply(Changes { upsert, remove: Vec::new() }), 1);
                    let sent: usize = watches.iter_mut().map(|watch| settle(watch, &mut out)).sum();
                    assert_eq!(sent, streams);
                });
            });
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

criterion_group!(benches, change, floor);
criterion_main!(benches);
