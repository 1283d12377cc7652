//! Measures what a pod costs the hub before the index sees it, for a pod of 7.5 kB from an API server: parsed as the full
//! type of k8s-openapi and as the document of which only the fields are parsed that the hub reads. Then tells how long the
//! parts of a list of 150,000 pods keep the feed's lock.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::core::ObjectList;
use portreeve_api::pod::{Interest, Pod};
use portreeve_api::pod_document::PodDocument;
use portreeve_hub::auth::Door;
use portreeve_hub::feed::Feed;
use portreeve_hub::index::Index;
use portreeve_hub::portions::Portions;
use portreeve_hub::settings::Settings;
use portreeve_hub::watermark::WatchedKind;
use portreeve_runtime::Readiness;
use portreeve_runtime::watch::Verbs;

const POD: &str = include_str!("pod.json");

/// Pods in a page of a list, as kube requests them.
const PAGE: usize = 500;

/// Pods in the longest list that a hub is made for.
const MANY: u32 = 150_000;

fn page() -> String {
    let items = vec![POD.trim(); PAGE].join(",");
    format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"1"}},"items":[{items}]}}"#
    )
}

fn parsing(c: &mut Criterion) {
    let interest = Interest::of_agents();
    let mut group = c.benchmark_group("one pod");
    group.bench_function("full type, parsed", |b| {
        b.iter(|| black_box(serde_json::from_str::<KubePod>(black_box(POD)).is_ok()));
    });
    group.bench_function("document, parsed", |b| {
        b.iter(|| black_box(serde_json::from_str::<PodDocument>(black_box(POD)).is_ok()));
    });
    group.bench_function("document, parsed and reduced", |b| {
        b.iter(|| {
            let document: PodDocument = serde_json::from_str(black_box(POD)).unwrap_or_default();
            black_box(Pod::from_kube_with(document, &interest)).is_some()
        });
    });
    group.finish();
    let (page, mut group) = (page(), c.benchmark_group("a page of pods"));
    group.throughput(Throughput::Elements(PAGE as u64)).sample_size(20);
    group.bench_function("full type", |b| {
        b.iter(|| black_box(serde_json::from_str::<ObjectList<KubePod>>(black_box(&page)).is_ok()));
    });
    group.bench_function("document", |b| {
        b.iter(|| black_box(serde_json::from_str::<ObjectList<PodDocument>>(black_box(&page)).is_ok()));
    });
    group.finish();
}

/// The pods of a list, with their revisions.
fn pods(numbers: std::ops::Range<u32>) -> Vec<(Pod, u64)> {
    let document: PodDocument = serde_json::from_str(POD).unwrap_or_default();
    let pod = Pod::from_kube_with(document, &Interest::default());
    let nth =
        |n: u32, pod: &Pod| Pod { uid: format!("{n}").into(), name: format!("p-{n}").into(), ..pod.clone() };
    numbers.filter_map(|n| Some((nth(n, pod.as_ref()?), u64::from(n)))).collect()
}

/// Passes on a list of these pods. Returns how long all took, and the longest part of it.
fn list(verbs: &mut Portions<Pod>, count: u32) -> [Duration; 2] {
    let (mut all, mut longest) = (Duration::ZERO, Duration::ZERO);
    let mut timed = |part: &mut dyn FnMut() -> bool| {
        let begun = Instant::now();
        let more = part();
        all += begun.elapsed();
        longest = longest.max(begun.elapsed());
        more
    };
    verbs.begin();
    let portion = u32::try_from(Portions::<Pod>::PORTION).unwrap_or(u32::MAX);
    for first in (0..count).step_by(portion as usize) {
        let mut some = pods(first..count.min(first + portion));
        timed(&mut || {
            verbs.portion(std::mem::take(&mut some));
            false
        });
    }
    verbs.reset(Vec::new());
    while timed(&mut || verbs.settle()) {}
    [all, longest]
}

fn listing(_: &mut Criterion) {
    let feed = Feed::new(Index::new(Settings::default(), 0), Readiness::default(), Door::Open);
    let mut verbs = Portions::new(&feed, WatchedKind::PODS);
    for (what, count) in [("the first list", MANY), ("the same list again", MANY), ("a list without pods", 0)]
    {
        let [all, longest] = list(&mut verbs, count);
        println!("{what} of {MANY} pods: {all:?} in the feed, the longest portion {longest:?}");
    }
}

criterion_group!(benches, parsing, listing);
criterion_main!(benches);
