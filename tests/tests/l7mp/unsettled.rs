//! Sessions that are being set up, and listeners that lost theirs.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use portreeve_l7mp::{Answer, Desired, Kind};
use portreeve_tests::l7mp::Settings;
use portreeve_tests::udp::{Echo, socket};
use portreeve_tests::wait;
use serde_json::json;

use crate::objects::{put_cluster, put_listener, retried, udp};
use crate::rig::{BOUND, Rig};

/// The proxy's port.
const LISTENER: u16 = 15000;

/// A listener whose sessions are set up for a second, in vain.
fn mk_desired() -> Desired {
    let mut desired = Desired::default();
    put_cluster(&mut desired, "B/T/empty", udp(9000), &[]);
    put_listener(&mut desired, "B/V/l", udp(LISTENER), vec![retried("B/T/empty", 5)]);
    desired
}

/// Sends a datagram, and waits until its session is being set up.
async fn start_session(rig: &Rig) -> Result<UdpSocket> {
    let client = socket(&rig.namespace, rig.at(0))?;
    client.send_to(b"first", rig.at(LISTENER))?;
    wait::until("a session that is set up", BOUND, async || unsettled(rig).await == 1).await?;
    Ok(client)
}

/// Returns the number of sessions that are set up; none if the proxy is gone.
async fn unsettled(rig: &Rig) -> usize {
    let sessions = rig.proxy.get("sessions").await.unwrap_or_default();
    sessions.as_array().map_or(0, |all| all.iter().filter(|one| one["status"] == "INIT").count())
}

#[test]
fn deletion_of_an_unsettled_session_ends_the_proxy() -> Result<()> {
    Rig::run_calm(Settings::default(), async |mut rig| {
        rig.apply(&mk_desired(), 3).await?;
        let _client = start_session(&rig).await?;
        let sessions = rig.proxy.names("sessions").await?;
        let Some(name) = sessions.iter().find(|name| name.starts_with("UDP:")) else {
            anyhow::bail!("{sessions:?}")
        };
        rig.proxy.delete(&format!("sessions/{name}")).await?;
        rig.proxy.process().wait_exit(BOUND).map(drop)
    })
}

#[test]
fn removal_of_a_listener_with_an_unsettled_session_leaves_the_proxy_alive() -> Result<()> {
    Rig::run(Settings::default(), async |mut rig| {
        rig.apply(&mk_desired(), 3).await?;
        let _client = start_session(&rig).await?;
        rig.want(&Desired::default());
        for kind in [Kind::Listener, Kind::Cluster] {
            let removed = |answer: &Answer| matches!(answer, Answer::Removed { ty, .. } if *ty == kind);
            rig.told("the removal", removed).await?;
        }
        wait::until("the end of the session", BOUND, async || unsettled(&rig).await == 0).await?;
        // A proxy whose unsettled session was deleted ends when that set-up would have ended: before this one, which began
        // later.
        rig.apply(&mk_desired(), 3).await?;
        let _later = start_session(&rig).await?;
        wait::until("the end of the later session", BOUND, async || unsettled(&rig).await == 0).await?;
        ensure!(rig.proxy.process().is_running(), "{}", rig.proxy.process().evidence());
        let lost = rig.answers().into_iter().find(|answer| matches!(answer, Answer::Disconnected { .. }));
        ensure!(lost.is_none(), "{lost:?}");
        Ok(())
    })
}

#[test]
fn connected_listener_with_spent_retries_is_made_again() -> Result<()> {
    Rig::run(Settings::default(), async |rig| {
        let user = rig.at(5555);
        let client = socket(&rig.namespace, user)?;
        client.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut desired = Desired::default();
        put_cluster(&mut desired, "B/T/c", udp(9000), &[]);
        let connect = json!({"address": user.ip().to_string(), "port": user.port()});
        let spec = json!({"protocol": "UDP", "port": LISTENER, "connect": connect});
        put_listener(&mut desired, "B/V/l", spec, vec![retried("B/T/c", 1)]);
        rig.apply(&desired, 3).await?;
        let gone = async || unsettled(&rig).await == 0;
        wait::until("spent retries", BOUND, gone).await?;
        let at = SocketAddr::new(rig.at(0).ip(), 9000);
        let echo = Echo::start(&rig.namespace, "e", at)?;
        put_cluster(&mut desired, "B/T/c", udp(9000), &[&at.ip().to_string()]);
        rig.apply(&desired, 1).await?;
        let reached = async || client.send_to(b"hello", rig.at(LISTENER)).is_ok() && echo.seen().received > 0;
        wait::until("a listener that hears again", BOUND, reached).await
    })
}
