//! Fifty clients at once (case 29).

use std::time::Instant;

use portreeve_xds::EnvoyType::{Cluster, Endpoint};
use portreeve_xds::View;
use tokio::task::JoinSet;

use crate::stand::{Caller, One, Stand, clusters, subscribe};

/// Connects, takes all clusters, then all assignments by name, as Envoy does; returns how many resources came.
async fn full_push(sock: std::path::PathBuf) -> usize {
    let mut caller = Caller::ads(&sock).await;
    caller.send(subscribe(Cluster, &[])).await;
    let first = caller.acked().await;
    let names: Vec<String> = first.resources.iter().map(|one| one.name.clone()).collect();
    caller.send(subscribe(Endpoint, &names)).await;
    let second = caller.acked().await;
    assert!(second.removed_resources.is_empty());
    first.resources.len() + second.resources.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_of_fifty_clients_with_a_thousand_clusters_is_served_whole() {
    let dir = tempfile::tempdir().unwrap();
    let stand = Stand::start(dir.path(), One::new(View::new(clusters(1000, 300))));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        clients.spawn(full_push(stand.sock.clone()));
    }
    let counts = clients.join_all().await;
    println!("50 clients x 1,000 clusters: {:?}", start.elapsed());
    assert_eq!(counts, [2000; 50]);
    stand.stop().await;
}
