//! A hub follows Services and their EndpointSlices if objects of some kind use them.

use anyhow::{Result, bail};
use portreeve_hub::feed::Feed;
use portreeve_hub::namespaces::Namespaces;
use portreeve_hub::service_watches;
use portreeve_hub::verdict::Refs;
use portreeve_runtime::{Readiness, Shutdown, Tasks};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{manifest, wait};

use crate::askers::{Asker, Asks, answers, feed, reference};

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: db, namespace: default}, \
    spec: {ports: [{name: a, port: 5432}, {name: b, port: 5433}]}}";

const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: default, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [10.9.9.9]}]
ports: [{name: a, port: 5432}]
";

#[tokio::test(flavor = "multi_thread")]
async fn service_and_its_slices_are_followed() -> Result<()> {
    let town = Town::without_portreeve(0).await?;
    let (feed, readiness) = (feed(), Readiness::default());
    let mut tasks = Tasks::new(Shutdown::default());
    service_watches::spawn(&mut tasks, &town.client, &feed, &Namespaces::default(), &readiness);
    tokio::select! {
        ended = tasks.run() => ended,
        done = follow(&town, &feed, &readiness) => done,
    }
}

async fn follow(town: &Town, feed: &Feed, readiness: &Readiness) -> Result<()> {
    if tokio::time::timeout(BOUND, readiness.ready()).await.is_err() {
        bail!("the watches have no complete list");
    }
    feed.load(|index, now| index.apply_object(&Asker::new(Asks::Service, "db"), now));
    answers(feed, "db", "absent").await?;
    town.apply(SERVICE).await?;
    answers(feed, "db", "2 ports").await?;
    has_endpoints(feed, false).await?;
    town.apply(SLICE).await?;
    has_endpoints(feed, true).await?;
    manifest::delete(&town.client, SLICE).await?;
    has_endpoints(feed, false).await?;
    manifest::delete(&town.client, SERVICE).await?;
    answers(feed, "db", "absent").await
}

/// Waits until the object has endpoints or has none.
async fn has_endpoints(feed: &Feed, some: bool) -> Result<()> {
    wait::until("endpoints to come or go", BOUND, || async {
        feed.take_verdicts();
        let refs = feed.subject(&reference("db")).map(|subject| subject.verdict.refs);
        refs.is_some_and(|refs| (refs == Refs::Resolved) == some)
    })
    .await
}
