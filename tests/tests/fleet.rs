//! Every scenario of the simulated fleet, on a small cluster: all agents converge, and only those concerned are sent
//! anything.

use anyhow::{Result, ensure};
use portreeve_tests::fleet::figures::Row;
use portreeve_tests::fleet::pod::Phase;
use portreeve_tests::fleet::scenarios::{Pace, Scenario, start};
use portreeve_tests::fleet::shape::Shape;
use portreeve_tests::fleet::site::Site;

/// Four gateways, and four agents without a gateway. A group in two is a service's.
const SHAPE: Shape =
    Shape { nodes: 40, pods_per_node: 10, services: 20, group_size: 10, gateways: 4, agents: 8 };
const PACE: Pace = Pace { seconds: 1, rate: 50 };

/// Returns the number of resources that each agent has received.
fn received(site: &Site) -> Vec<u64> {
    site.ledger.holdings().iter().map(|one| one.received).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_converge_in_every_scenario() -> Result<()> {
    let (mut site, started) = start(SHAPE).await?;
    println!("{}", started.line());
    let mut rows: Vec<Row> = Vec::new();
    for scenario in Scenario::ALL {
        for row in scenario.run(&mut site, PACE).await? {
            println!("{}", row.line());
            rows.push(row);
        }
    }
    let row = |name: &str| rows.iter().find(|row| row.name == name).cloned();
    for name in ["churn", "rolling", "nodes-fail", "nodes-back", "hot", "edit", "widen", "narrow"] {
        ensure!(row(name).is_some_and(|row| !row.times.is_empty()), "no change was measured in {name}");
    }
    ensure!(row("restart").is_some_and(|row| row.received == 0), "resources were sent again: {rows:#?}");
    ensure!(row("edit").is_some_and(|row| row.writes <= 3 * u64::from(SHAPE.services)), "{rows:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_change_reaches_only_the_agents_that_it_concerns() -> Result<()> {
    let (mut site, _) = start(SHAPE).await?;
    let before = received(&site);
    ensure!(before[..4].iter().all(|count| *count > 0), "{before:?}");
    // Of an unused group: the change behind it shows that the hub has seen it.
    let unused = (0..SHAPE.pods()).find(|pod| !SHAPE.is_used(*pod));
    site.set(unused, Phase::Unready);
    site.set([1], Phase::Unready);
    site.settled().await?;
    site.in_sync().await?;
    let news: Vec<u64> = received(&site).iter().zip(&before).map(|(now, before)| now - before).collect();
    ensure!(news == [1, 1, 1, 1, 0, 0, 0, 0], "{news:?}");
    Ok(())
}
