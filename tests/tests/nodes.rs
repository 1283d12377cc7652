//! Real nodes.
use anyhow::Result;
use portreeve_tests::cluster::{Cluster, Image};
use std::time::{Duration, Instant};
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn first() -> Result<()> {
    let started = Instant::now();
    let cluster = Cluster::start(2).await?;
    eprintln!("ready after {:?}", started.elapsed());
    cluster.load(&[Image::busybox("portreeve.test/box:1")])?;
    cluster
        .apply(
            "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: box, namespace: default}
spec:
  selector: {matchLabels: {app: box}}
  template:
    metadata: {labels: {app: box}}
    spec:
      containers:
      - {name: box, image: 'portreeve.test/box:1'}
",
        )
        .await?;
    cluster.rolled_out("daemonset", "default", "box", BOUND).await?;
    eprintln!("rolled out after {:?}", started.elapsed());
    eprintln!("{}", cluster.evidence());
    for node in cluster.nodes() {
        eprintln!("{:?}", node.memory());
    }
    eprintln!("{:?}", cluster.pods("default", "app=box").await?);
    drop(cluster);
    eprintln!("gone after {:?}", started.elapsed());
    Ok(())
}
