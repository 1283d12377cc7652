//! The proxy's own configuration is never touched.

use anyhow::{Result, ensure};
use portreeve_agent_core::translate::l7mp::objects::{Hop, Rule};
use portreeve_l7mp::{Answer, Desired, Kind};
use portreeve_tests::l7mp::Settings;
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait;
use serde_json::{Value, json};

use crate::objects::{put_cluster, put_insertion, put_listener, to, udp};
use crate::rig::{BOUND, Rig};

/// The kinds of objects in paths.
const KINDS: [&str; 5] = ["listeners", "clusters", "rulelists", "rules", "routes"];

/// A proxy with a UDP listener on port 7000 whose rule list sends everything to an echo.
fn mk_settings() -> Settings {
    Settings {
        strict: true,
        listeners: vec![json!({"name": "theirs", "spec": udp(7000), "rules": "their-list"})],
        clusters: vec![json!({"name": "their-echo", "spec": {"protocol": "Echo"}})],
        lists: vec![json!({"name": "their-list", "rules": [
            {"name": "their-rule", "action": {"route": {"name": "their-route", "destination": "their-echo"}}}]})],
    }
}

async fn whole(rig: &Rig) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for kind in KINDS {
        all.push(rig.proxy.get(kind).await?);
    }
    Ok(all)
}

#[test]
fn rule_in_a_list_of_the_proxys_own_comes_and_goes() -> Result<()> {
    Rig::run(mk_settings(), async |rig| {
        let before = whole(&rig).await?;
        let echo = Echo::start(&rig.namespace, "e", rig.at(0))?;
        let mut desired = Desired::default();
        put_cluster(&mut desired, "B/T/c", udp(echo.address().port()), &[&echo.address().ip().to_string()]);
        put_insertion(&mut desired, "B/R/r", "their-list", to("B/T/c"));
        rig.apply(&desired, 3).await?;
        Flow::to(rig.at(7000)).start(&rig.namespace)?.finish()?.lossless()?;
        rig.want(&Desired::default());
        rig.told("the rule's removal", |answer| matches!(answer, Answer::Removed { ty: Kind::Rule, .. }))
            .await?;
        let same = async || whole(&rig).await.is_ok_and(|now| now == before);
        wait::until("the configuration as it was", BOUND, same).await
    })
}

#[test]
fn listener_on_a_port_of_the_proxys_own_is_refused_by_name_and_others_are_not() -> Result<()> {
    Rig::run(mk_settings(), async |rig| {
        let own = |name: &str| {
            let Rule { route, .. } = to("x");
            let route = route.map(|route| portreeve_agent_core::translate::l7mp::objects::Route {
                destination: Hop::Own(name.into()),
                ..route
            });
            Rule { route, ..Rule::default() }
        };
        let mut desired = Desired::default();
        put_listener(&mut desired, "B/V/taken", udp(7000), vec![own("their-echo")]);
        put_listener(&mut desired, "B/V/api", json!({"protocol": "WebSocket", "port": 1234}), Vec::new());
        put_listener(&mut desired, "B/V/lost", udp(7001), vec![own("no-echo")]);
        put_listener(&mut desired, "B/V/good", udp(7002), vec![own("their-echo")]);
        rig.apply(&desired, 1).await?;
        for (listener, words) in [
            ("B/V/taken", "the proxy's own listener \"theirs\""),
            ("B/V/api", "the proxy's own listener \"controller-listener\""),
            ("B/V/lost", "the cluster \"no-echo\""),
        ] {
            let refused = |answer: &Answer| matches!(answer, Answer::Nacked { name, text, .. } if &**name == listener && text.contains(words));
            rig.told(words, refused).await?;
        }
        let listeners = rig.proxy.names("listeners").await?;
        ensure!(listeners.len() == 3, "{listeners:?}");
        Ok(())
    })
}

fn refused_alone(strict: bool) -> Result<()> {
    Rig::run(Settings { strict, ..Settings::default() }, async |rig| {
        let mut desired = Desired::default();
        put_cluster(&mut desired, "B/T/bad", json!({"protocol": "Nonsense", "port": 1}), &["127.0.0.1"]);
        put_cluster(&mut desired, "B/T/c", udp(9000), &["127.0.0.1"]);
        // An echo takes no endpoints.
        put_cluster(&mut desired, "B/T/echo", json!({"protocol": "Echo"}), &["127.0.0.1"]);
        put_listener(&mut desired, "B/V/bad", udp(15001), vec![to("B/T/bad")]);
        put_listener(&mut desired, "B/V/good", udp(15000), vec![to("B/T/c")]);
        put_listener(&mut desired, "B/V/worse", json!({"protocol": "Nonsense"}), vec![to("B/T/c")]);
        rig.apply(&desired, 4).await?;
        for (resource, kind) in
            [("B/T/bad", Kind::Cluster), ("B/T/echo", Kind::Endpoints), ("B/V/worse", Kind::Listener)]
        {
            let refused = |answer: &Answer| {
                matches!(answer, Answer::Nacked { name, ty, text, .. }
                    if &**name == resource && *ty == kind && text.starts_with("the proxy answered 4"))
            };
            rig.told(&format!("the refusal of {resource}"), refused).await?;
        }
        let waits = |answer: &Answer| matches!(answer, Answer::Pending { name, cluster, .. } if &**name == "B/V/bad" && &**cluster == "B/T/bad");
        rig.told("the wait for the refused cluster", waits).await?;
        let rules = rig.proxy.names("rules").await?;
        ensure!(rules.len() == 2, "orphans of the refused listener: {rules:?}");
        Ok(())
    })
}

#[test]
fn refusal_disturbs_nothing_else_on_a_loose_proxy() -> Result<()> {
    refused_alone(false)
}

#[test]
fn refusal_disturbs_nothing_else_on_a_strict_proxy() -> Result<()> {
    refused_alone(true)
}
