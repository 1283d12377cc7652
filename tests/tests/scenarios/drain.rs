//! What a sidecar keeps of a removed listener, and for how long.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portreeve_tests::town::{BOUND, Town, listeners};
use portreeve_tests::virtual_service::{Host, Service};
use portreeve_tests::wait;

/// The shipped drain time, and what a busy machine needs beyond it. Envoy's own default is 600 s.
const GONE: Duration = Duration::from_secs(10);
/// The port of the listeners as `/proc/net/udp` writes it.
const PORT: (u16, &str) = (5077, ":13D5 ");

/// The UDP sockets at the port in the network of a process.
fn sockets(pid: u32) -> Result<usize> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/udp"))?;
    Ok(table.lines().filter(|line| line.contains(PORT.1)).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_removed_udp_listeners_do_not_stay() -> Result<()> {
    let town = Town::start(1).await?;
    town.gateways().await?;
    let worker = town.worker(1, 1, "app: side", true).await?;
    let pid = worker.envoy.as_ref().context("an Envoy")?.pid();
    for round in 0..3 {
        let name = format!("call-{round}");
        let service = Service::new(&name, "app: side").udp(&name, PORT.0, &[Host::At("10.77.0.1")], 10_000);
        town.apply(&service.yaml()).await?;
        listeners(&worker.admin, &[&name], BOUND).await?;
        ensure!(sockets(pid)? > 0, "no socket at port {}", PORT.0);
        town.delete(&service.yaml()).await?;
        listeners(&worker.admin, &[], BOUND).await?;
        let removed = Instant::now();
        wait::until("no socket at the port", GONE, || async { sockets(pid).is_ok_and(|left| left == 0) })
            .await?;
        println!("the sockets were gone {:.2?} after the listener", removed.elapsed());
    }
    Ok(())
}
