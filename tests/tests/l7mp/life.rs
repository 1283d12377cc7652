//! Objects come, change and go.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use portreeve_l7mp::{Answer, Desired};
use portreeve_tests::l7mp::Settings;
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait;

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
        let sessions = rig.proxy.names("sessions").await?;
        ensure!(sessions.iter().all(|name| name.starts_with("HTTP:")), "{sessions:?}");
        Ok(())
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
