//! A call as in the API's own samples, on real nodes: gateway, the worker's sidecar, and the application next to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait;

use crate::site::{BOUND, Site, deploy};

/// Ports of the sample's gateways, and of the applications next to the sidecars.
const CALL: u16 = 2000;
const SOFTWARE: u16 = 1234;

pub async fn take_a_call(site: &Site) -> Result<()> {
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), SOFTWARE);
    let software = site.workers.iter().map(|pod| Echo::start(&pod.netns, &pod.name, local));
    let _software: Vec<Echo> = software.collect::<Result<_>>()?;
    for side in ["ingress", "worker"] {
        site.cluster.kubectl(&["apply", "-f", &deploy(&format!("examples/seed-a/{side}.yaml"))])?;
    }
    for side in ["ingress", "worker"] {
        site.programmed(&format!("virtualservice-sample-{side}")).await?;
    }
    // The sidecars' own health port is open, but its check may need a moment.
    let home = |node: usize| {
        let to = SocketAddr::new(site.cluster.node(node).address().into(), CALL);
        let report = Flow::to(to).sockets(4).rate(200).lasting(Duration::from_millis(500));
        let report = report.start(site.cluster.outside())?.finish()?;
        report.lossless()?;
        Ok::<_, anyhow::Error>(report.answered_by().into_keys().collect::<Vec<_>>())
    };
    wait::until("the call to be answered", BOUND, || async { home(0).is_ok() })
        .await
        .with_context(|| site.cluster.evidence())?;
    let homes = [home(0)?, home(1)?];
    ensure!(homes[0] == homes[1] && homes[0].len() == 1, "{homes:?}");
    Ok(())
}
