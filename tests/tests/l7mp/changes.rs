//! Changes under a live flow.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use portreeve_l7mp::Desired;
use portreeve_tests::l7mp::Settings;
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait;

use crate::objects::{put_cluster, put_listener, to, udp};
use crate::rig::{BOUND, Rig};

/// Longer than a test.
const LASTING: Duration = Duration::from_secs(60);
/// The port of the endpoints.
const PORT: u16 = 9000;
/// The proxy's port.
const LISTENER: u16 = 15000;
/// The largest number of datagrams that are lost when a session ends and the next datagram opens a new one: those that
/// were on their way. The flow sends one each 5 ms.
const ON_THEIR_WAY: usize = 10;

/// Returns a loopback address of the namespace.
fn lo(last: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(127, 0, 0, last).into(), PORT)
}

fn mk_desired(cluster: &str) -> Desired {
    let mut desired = Desired::default();
    put_cluster(&mut desired, "B/T/a", udp(PORT), &["127.0.0.2"]);
    put_cluster(&mut desired, "B/T/b", udp(PORT), &["127.0.0.3"]);
    put_listener(&mut desired, "B/V/l", udp(LISTENER), vec![to(cluster)]);
    desired
}

async fn seen(echo: &Echo) -> Result<()> {
    let before = echo.seen().received;
    wait::until("datagrams at the echo", BOUND, async || echo.seen().received > before + 5).await
}

fn settings(strict: bool) -> Settings {
    Settings { strict, ..Settings::default() }
}

#[test]
fn changed_rule_loses_nothing_and_sessions_follow_when_their_cluster_goes() -> Result<()> {
    Rig::run(settings(true), async |rig| {
        let (a, b) = (Echo::start(&rig.namespace, "a", lo(2))?, Echo::start(&rig.namespace, "b", lo(3))?);
        let mut desired = mk_desired("B/T/a");
        rig.apply(&desired, 5).await?;
        let listeners = rig.proxy.names("listeners").await?;
        let flow = Flow::to(rig.at(LISTENER)).rate(200).lasting(LASTING).start(&rig.namespace)?;
        seen(&a).await?;
        desired = mk_desired("B/T/b");
        rig.apply(&desired, 1).await?;
        seen(&a).await?;
        ensure!(rig.proxy.names("listeners").await? == listeners, "the listener was made again");
        let report = flow.stop()?;
        report.lossless()?;
        ensure!(report.answered_by().into_keys().eq(["a"]), "{:?}", report.answered_by());
        let newcomer = Flow::to(rig.at(LISTENER)).start(&rig.namespace)?.finish()?;
        newcomer.lossless()?;
        ensure!(newcomer.answered_by().into_keys().eq(["b"]), "{:?}", newcomer.answered_by());
        drop(b);
        Ok(())
    })
}

#[test]
fn sessions_follow_when_their_cluster_changes() -> Result<()> {
    Rig::run(settings(false), async |rig| {
        let (a, b) = (Echo::start(&rig.namespace, "a", lo(2))?, Echo::start(&rig.namespace, "b", lo(3))?);
        let other = Echo::start(&rig.namespace, "other", SocketAddr::new(lo(2).ip(), PORT + 1))?;
        let mut desired = mk_desired("B/T/a");
        rig.apply(&desired, 5).await?;
        let flow = Flow::to(rig.at(LISTENER)).rate(200).lasting(LASTING).start(&rig.namespace)?;
        seen(&a).await?;
        put_cluster(&mut desired, "B/T/a", udp(PORT + 1), &["127.0.0.2"]);
        rig.apply(&desired, 1).await?;
        seen(&other).await?;
        let report = flow.stop()?;
        ensure!(report.lost() <= ON_THEIR_WAY, "{report}");
        ensure!(report.answered_by().into_keys().eq(["a", "other"]), "{:?}", report.answered_by());
        drop(b);
        Ok(())
    })
}

#[test]
fn sessions_move_when_their_endpoint_leaves() -> Result<()> {
    Rig::run(settings(true), async |rig| {
        let (a, b) = (Echo::start(&rig.namespace, "a", lo(2))?, Echo::start(&rig.namespace, "b", lo(3))?);
        let mut desired = mk_desired("B/T/a");
        rig.apply(&desired, 5).await?;
        let flow = Flow::to(rig.at(LISTENER)).rate(200).lasting(LASTING).start(&rig.namespace)?;
        seen(&a).await?;
        put_cluster(&mut desired, "B/T/a", udp(PORT), &["127.0.0.2", "127.0.0.3"]);
        rig.apply(&desired, 1).await?;
        seen(&a).await?;
        put_cluster(&mut desired, "B/T/a", udp(PORT), &["127.0.0.3"]);
        rig.apply(&desired, 1).await?;
        seen(&b).await?;
        let sessions = rig.proxy.names("sessions").await?;
        ensure!(sessions.iter().filter(|name| name.starts_with("UDP:")).count() == 1, "{sessions:?}");
        let report = flow.stop()?;
        ensure!(report.lost() <= ON_THEIR_WAY, "{report}");
        ensure!(report.answered_by().into_keys().eq(["a", "b"]), "{:?}", report.answered_by());
        Ok(())
    })
}

#[test]
fn listener_moves_to_another_port_with_its_rules() -> Result<()> {
    Rig::run(settings(true), async |rig| {
        let a = Echo::start(&rig.namespace, "a", lo(2))?;
        let mut desired = mk_desired("B/T/a");
        rig.apply(&desired, 5).await?;
        put_listener(&mut desired, "B/V/l", udp(LISTENER + 1), vec![to("B/T/a")]);
        rig.apply(&desired, 1).await?;
        Flow::to(rig.at(LISTENER + 1)).start(&rig.namespace)?.finish()?.lossless()?;
        ensure!(a.seen().received > 0, "another endpoint answered");
        desired.listeners.clear();
        rig.want(&desired);
        let own = |names: Vec<String>| names.iter().any(|name| name.starts_with("portreeve/B/V/"));
        let gone = async || rig.proxy.names("rules").await.is_ok_and(|names| !own(names));
        wait::until("the end of the rules", BOUND, gone).await
    })
}
