//! Objects come, change and go.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use portreeve_agent_core::translate::l7mp::objects::Hop;
use portreeve_l7mp::{Answer, Desired, Kind};
use portreeve_tests::l7mp::Settings;
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait;
use serde_json::json;

use crate::objects::{put_cluster, put_listener, to, udp};
use crate::rig::{BOUND, Rig};

fn mk_desired(listener: u16, upstream: SocketAddr) -> Desired {
    let mut desired = Desired::default();
    put_cluster(&mut desired, "B/T/c", udp(upstream.port()), &[&upstream.ip().to_string()]);
    put_listener(&mut desired, "B/V/l", udp(listener), vec![to("B/T/c")]);
    desired
}

fn created_and_removed(strict: bool) -> Result<()> {
    Rig::run(Settings { strict, ..Settings::default() }, async |rig| {
        let before = everything(&rig).await?;
        let echo = Echo::start(&rig.namespace, "a", rig.at(0))?;
        rig.apply(&mk_desired(15000, echo.address()), 3).await?;
        Flow::to(rig.at(15000)).start(&rig.namespace)?.finish()?.lossless()?;
        rig.want(&Desired::default());
        rig.told(
            "the removal",
            |answer| matches!(answer, Answer::Removed { name, .. } if &**name == "B/V/l"),
        )
        .await?;
        let gone = async || everything(&rig).await.is_ok_and(|now| now == before);
        wait::until("a proxy without objects of the driver's", BOUND, gone).await?;
        let ended = async || {
            let sessions = rig.proxy.names("sessions").await;
            sessions.is_ok_and(|all| all.iter().all(|name| name.starts_with("HTTP:")))
        };
        wait::until("the end of the listener's sessions", BOUND, ended).await
    })
}

/// Returns the names of all objects.
async fn everything(rig: &Rig) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for kind in ["listeners", "clusters", "rulelists", "rules", "routes"] {
        all.extend(rig.proxy.names(kind).await?);
    }
    Ok(all)
}

#[test]
fn objects_come_and_go_on_a_loose_proxy() -> Result<()> {
    created_and_removed(false)
}

#[test]
fn objects_come_and_go_on_a_strict_proxy() -> Result<()> {
    created_and_removed(true)
}

#[test]
fn restarted_proxy_gets_everything_again() -> Result<()> {
    Rig::run_calm(Settings::default(), async |mut rig| {
        let echo = Echo::start(&rig.namespace, "a", rig.at(0))?;
        rig.apply(&mk_desired(15000, echo.address()), 3).await?;
        rig.forget();
        rig.proxy.restart()?;
        rig.told("the end of the connection", |answer| matches!(answer, Answer::Disconnected { .. })).await?;
        rig.acked(3).await?;
        Flow::to(rig.at(15000)).start(&rig.namespace)?.finish()?.lossless()
    })
}

#[test]
fn what_others_delete_is_made_again() -> Result<()> {
    Rig::run(Settings::default(), async |rig| {
        let echo = Echo::start(&rig.namespace, "a", rig.at(0))?;
        rig.apply(&mk_desired(15000, echo.address()), 3).await?;
        let before = everything(&rig).await?;
        for kind in ["rules", "routes", "clusters"] {
            let names = rig.proxy.names(kind).await?;
            let own = names.iter().find(|name| name.starts_with("portreeve/"));
            let Some(name) = own else { anyhow::bail!("none of the driver's among {names:?}") };
            rig.proxy.delete(&format!("{kind}/{}", name.replace('/', "%2F").replace('@', "%40"))).await?;
            let back = async || everything(&rig).await.is_ok_and(|now| now.len() == before.len());
            wait::until(&format!("the deleted one of the {kind}"), BOUND, back).await?;
        }
        Flow::to(rig.at(15000)).start(&rig.namespace)?.finish()?.lossless()
    })
}

#[test]
fn listener_waits_for_its_cluster() -> Result<()> {
    Rig::run_calm(Settings { strict: true, ..Settings::default() }, async |rig| {
        let mut desired = Desired::default();
        put_listener(&mut desired, "B/V/l", udp(15000), vec![to("B/T/c")]);
        rig.want(&desired);
        let waits = |answer: &Answer| matches!(answer, Answer::Pending { name, cluster, .. } if &**name == "B/V/l" && &**cluster == "B/T/c");
        rig.told("the wait", waits).await?;
        let echo = Echo::start(&rig.namespace, "a", rig.at(0))?;
        rig.apply(&mk_desired(15000, echo.address()), 3).await?;
        Flow::to(rig.at(15000)).start(&rig.namespace)?.finish()?.lossless()
    })
}

#[test]
fn idle_connection_that_the_proxy_closes_is_no_restart() -> Result<()> {
    Rig::run_calm(Settings::default(), async |rig| {
        let echo = Echo::start(&rig.namespace, "a", rig.at(0))?;
        rig.apply(&mk_desired(15000, echo.address()), 3).await?;
        let before = rig.proxy.count("getListeners");
        let looked = async || rig.proxy.count("getListener") > 0;
        wait::until("a look at one object over a new connection", BOUND, looked).await?;
        ensure!(rig.proxy.count("getListeners") == before, "everything was read back");
        let lost = rig.answers().into_iter().find(|answer| matches!(answer, Answer::Disconnected { .. }));
        ensure!(lost.is_none(), "{lost:?}");
        Ok(())
    })
}

#[test]
fn former_listener_comes_back_when_the_new_one_is_refused() -> Result<()> {
    Rig::run(Settings::default(), async |rig| {
        let echo = Echo::start(&rig.namespace, "a", rig.at(0))?;
        let mut desired = mk_desired(15000, echo.address());
        rig.apply(&desired, 3).await?;
        let listeners = rig.proxy.names("listeners").await?;
        let spec = json!({"protocol": "UDP", "port": 15000, "options": {"mode": "singleton"}});
        put_listener(&mut desired, "B/V/l", spec, vec![to("B/T/c")]);
        rig.want(&desired);
        let refused = |answer: &Answer| matches!(answer, Answer::Nacked { text, .. } if text.contains("Singleton mode requested"));
        rig.told("the refusal", refused).await?;
        let back = async || rig.proxy.names("listeners").await.is_ok_and(|now| now == listeners);
        wait::until("the former listener", BOUND, back).await?;
        Flow::to(rig.at(15000)).start(&rig.namespace)?.finish()?.lossless()?;
        let acked = rig.answers().into_iter().find(|answer| matches!(answer, Answer::Acked { .. }));
        ensure!(acked.is_none(), "{acked:?}");
        put_listener(&mut desired, "B/V/l", udp(15000), vec![to("B/T/c")]);
        rig.apply(&desired, 1).await
    })
}

#[test]
fn sessions_outlive_a_listener_that_does_not_end_them() -> Result<()> {
    Rig::run(Settings::default(), async |rig| {
        let echo = Echo::start(&rig.namespace, "a", rig.at(0))?;
        let mut desired = mk_desired(15000, echo.address());
        if let Some((_, listener)) = desired.listeners.get_mut("B/V/l" as &str) {
            std::sync::Arc::make_mut(listener).ends_sessions = false;
        }
        rig.apply(&desired, 3).await?;
        let flow = Flow::to(rig.at(15000)).lasting(BOUND).start(&rig.namespace)?;
        wait::until("the flow", BOUND, async || echo.seen().received > 5).await?;
        rig.want(&Desired::default());
        for kind in [Kind::Listener, Kind::Cluster] {
            let removed = |answer: &Answer| matches!(answer, Answer::Removed { ty, .. } if *ty == kind);
            rig.told("the removal", removed).await?;
        }
        let seen = echo.seen().received;
        wait::until("the flow after the removal", BOUND, async || echo.seen().received > seen + 5).await?;
        flow.stop()?.lossless()
    })
}

#[test]
fn strict_proxy_that_cannot_show_its_sessions_is_driven_all_the_same() -> Result<()> {
    Rig::run(Settings { strict: true, ..Settings::default() }, async |mut rig| {
        let echo = Echo::start(&rig.namespace, "a", rig.at(0))?;
        let mut desired = mk_desired(15000, echo.address());
        put_cluster(&mut desired, "B/T/meter", json!({"protocol": "Metric"}), &[]);
        let mut chained = to("B/T/c");
        let meter = Hop::Cluster("B/T/meter".into());
        chained.route.iter_mut().for_each(|route| route.ingress.push(meter.clone()));
        put_listener(&mut desired, "B/V/l", udp(15000), vec![chained]);
        rig.apply(&desired, 5).await?;
        Flow::to(rig.at(15000)).start(&rig.namespace)?.finish()?.lossless()?;
        let Err(error) = rig.proxy.get("sessions").await else { anyhow::bail!("the sessions are shown") };
        ensure!(error.to_string().contains("422"), "{error}");
        put_cluster(&mut desired, "B/T/c", udp(echo.address().port()), &[]);
        rig.apply(&desired, 1).await?;
        rig.want(&Desired::default());
        let removed = |answer: &Answer| matches!(answer, Answer::Removed { ty: Kind::Cluster, .. });
        rig.told("the removal", removed).await?;
        ensure!(rig.proxy.process().is_running(), "{}", rig.proxy.process().evidence());
        Ok(())
    })
}
