//! Objects on proxies of another kind than they are made for: a VirtualService of the l7mp mesh on a real Envoy, and one for
//! Envoys on a real l7mp proxy. What the proxy can't express is refused in the object's status, and disturbs nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_api::b::target::Target;
use portreeve_api::b::virtual_service::VirtualService as MeshService;
use portreeve_tests::path;
use portreeve_tests::pipe::{Pipe, virtual_service};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::{Echo, Flow};
use portreeve_tests::wait;
use serde_json::{Value, json};

use crate::mesh::{self, Pod, User, object};

/// The port of the workers.
const WORKER: u16 = 9999;
/// The pods' labels.
const GATEWAY: &str = "app: gateway";

/// A Target of the gateways: a worker with this label.
fn target(name: &str, worker: &str, more: Value) -> String {
    let mut cluster = json!({
        "spec": {"UDP": {"port": WORKER}},
        "endpoints": [{"selector": {"matchLabels": {"part": worker}}}],
    });
    if let Value::Object(more) = more {
        cluster.as_object_mut().into_iter().for_each(|fields| fields.extend(more.clone()));
    }
    object("Target", name, json!({"selector": {"matchLabels": {"app": "gateway"}}, "cluster": cluster}))
}

/// A VirtualService of the gateways on a UDP port with these rules.
fn listener(name: &str, port: u16, rules: Value) -> String {
    let spec = json!({
        "selector": {"matchLabels": {"app": "gateway"}},
        "listener": {"spec": {"UDP": {"port": port}}, "rules": rules},
    });
    object("VirtualService", name, spec)
}

fn to(target: &str) -> Value {
    json!({"route": {"destinationRef": format!("/l7mp.io/v1/Target/default/{target}")}})
}

/// Returns whether a text holds all of these parts.
fn names(text: &str, parts: &[&str]) -> Result<()> {
    ensure!(parts.iter().all(|part| text.contains(part)), "{text:?} does not name all of {parts:?}");
    Ok(())
}

/// Objects of which an Envoy can express everything. Datagrams of ports 9000 to 9099 go to `calls`, others of this sender to
/// `others`, and none to port 8002.
fn served(from: IpAddr) -> String {
    let ports = json!({"op": "and", "apply": [
        {"op": "more", "path": "/UDP/src_port", "value": 8999},
        {"op": "less", "path": "/UDP/src_port", "value": 9100},
    ]});
    let sender = json!({"op": "test", "path": "/IP/src_addr", "value": from.to_string()});
    let stranger = json!({"op": "test", "path": "/IP/src_addr", "value": "192.0.2.1"});
    let rules = json!([{"match": ports, "action": to("calls")}, {"match": sender, "action": to("others")}]);
    [
        target("calls", "calls", json!({})),
        target("others", "others", json!({})),
        listener("served", 8001, rules),
        listener("strangers", 8002, json!([{"match": stranger, "action": to("calls")}])),
    ]
    .concat()
}

/// Objects of which an Envoy can't express a field, and a Target of which it can express everything.
fn refused() -> String {
    let logger = json!({"cluster": {"spec": {"Logger": {"log_file": "-"}}}});
    let chain = json!([{"action": {"route": {"destinationRef": "calls", "ingress": [logger]}}}]);
    let retry = json!({"retry_on": "always", "num_retries": 3, "timeout": 2000});
    let again = json!([{"action": {"route": {"destinationRef": "calls", "retry": retry}}}]);
    let balancer = json!({"loadbalancer": {"policy": "ConsistentHash", "key": "/labels/call"}});
    [
        target("labelled", "calls", balancer),
        listener("chain", 8003, chain),
        listener("keyed", 8004, json!([{"action": to("labelled")}])),
        listener("again", 8005, again),
    ]
    .concat()
}

/// Asserts that the refused objects say which proxy can't express which field.
async fn refusals_are_told(town: &Town) -> Result<()> {
    for (name, field) in [
        ("chain", "rules[0].route.ingress"),
        ("keyed", "balancer.metadata_path /labels/call"),
        ("again", "rules[0].route.retry on always"),
    ] {
        let accepted = mesh::told::<MeshService>(town, name, ("Accepted", "False")).await?;
        let programmed = mesh::told::<MeshService>(town, name, ("Programmed", "False")).await?;
        for text in [accepted, programmed] {
            println!("{name}: {text}");
            names(&text, &["UnsupportedByProxy", "n1", "pod/default/w1-1", "listener", field])?;
        }
    }
    println!("labelled: {}", mesh::told::<Target>(town, "labelled", ("Programmed", "True")).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mesh_services_are_served_by_envoys_as_far_as_these_can_express_them() -> Result<()> {
    let town = Town::start(1).await?;
    let root = town.bed.root();
    let gateway = town.worker(1, 1, GATEWAY, true).await?;
    let mut echoes = Vec::new();
    for (j, part) in [(2, "calls"), (3, "others")] {
        let worker = town.worker(1, j, &format!("part: {part}"), false).await?;
        echoes.push(Echo::start(&worker.netns, part, SocketAddr::new(worker.ip(), WORKER))?);
    }
    let at = |port| SocketAddr::new(gateway.ip(), port);
    town.apply(&served(root.v4())).await?;
    mesh::programmed(&town, &["served", "strangers"], &["calls", "others"]).await?;
    path::opens(root, at(8001), "others", BOUND)?;
    let caller = User::new(&town, 9005)?;
    caller.send(at(8001), "hello")?;
    let answer = caller.hear().context("the call is not answered")?;
    ensure!(answer.contains("calls"), "{answer}");
    let outsider = User::new(&town, 9006)?;
    outsider.send(at(8002), "hello")?;
    ensure!(outsider.hear().is_none(), "the rule admits another address only");

    let flow = Flow::to(at(8001)).sockets(4).rate(200).lasting(Duration::from_secs(600)).start(root)?;
    town.apply(&refused()).await?;
    refusals_are_told(&town).await?;
    mesh::programmed(&town, &["served", "strangers"], &["calls", "others"]).await?;
    let report = flow.stop()?;
    ensure!(report.answered_by().keys().eq(["others"]), "{:?}", report.answered_by());
    report.undisturbed(gateway.netns.udp_drops()?).context("what is served beside what is refused")?;

    // Constants are keys: the rule sets the label that the Target's balancer reads.
    let constant = json!([{"action": {
        "rewrite": [{"path": "/labels/call", "valueStr": "1"}], "route": {"destinationRef": "labelled"},
    }}]);
    town.apply(&listener("keyed", 8004, constant)).await?;
    mesh::programmed(&town, &["keyed"], &[]).await?;
    println!("keyed: {}", mesh::told::<MeshService>(&town, "keyed", ("Accepted", "True")).await?);
    path::opens(root, at(8004), "calls", BOUND)?;
    Ok(())
}

/// Waits until a VirtualService of API A has this condition. Returns its reason and message.
async fn says(town: &Town, name: &str, wanted: (&str, &str)) -> Result<String> {
    let api = Api::<VirtualService>::namespaced(town.client.clone(), "default");
    let what = format!("{wanted:?} of {name}");
    wait::seen(api, wait::named(name), (&what, BOUND), |object| {
        let now = object.metadata.generation;
        let mut all = object.status.iter().flat_map(|status| &status.conditions);
        let is = |one: &&Condition| {
            (one.type_.as_str(), one.status.as_str()) == wanted && one.observed_generation == now
        };
        all.find(is).map(|one| format!("{}: {}", one.reason, one.message))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn services_for_envoys_are_served_by_l7mp_proxies_as_far_as_these_can_express_them() -> Result<()> {
    let town = Town::start(1).await?;
    let root = town.bed.root();
    let gateway = Pod::start(&town, 1, 1, GATEWAY).await?;
    let (_workers, echoes) = {
        let (mut workers, mut echoes) = (Vec::new(), Vec::new());
        for j in 2..=4 {
            let worker = town.worker(1, j, "app: worker", false).await?;
            echoes.push(Echo::start(&worker.netns, &worker.name, SocketAddr::new(worker.ip(), WORKER))?);
            workers.push(worker);
        }
        (workers, echoes)
    };
    let pipe = |name: &str, port| Pipe::new(name, port, WORKER).keyed("call-1");
    town.apply(&virtual_service("call", GATEWAY, &[pipe("rtp", 5000), pipe("rtcp", 5001)])).await?;
    town.apply(&virtual_service("spread", GATEWAY, &[Pipe::new("spread", 5002, WORKER)])).await?;
    for name in ["call", "spread"] {
        println!("{name}: {}", says(&town, name, ("Programmed", "True")).await?);
        println!("{name}: {}", says(&town, name, ("Accepted", "True")).await?);
    }
    let mut reached = Vec::new();
    for port in [5000, 5001] {
        reached.push(path::answered(root, gateway.at(port), BOUND)?.answered_by());
    }
    let first: Vec<&String> = reached[0].keys().collect();
    ensure!(
        first.len() == 1 && reached[1].keys().eq(first),
        "one pod has all listeners of a call: {reached:?}"
    );
    println!("spread: {:?}", path::answered(root, gateway.at(5002), BOUND)?.answered_by());

    let idle = Pipe { idle_ms: Some(9000), ..pipe("idle", 5003) };
    town.apply(&virtual_service("partly", GATEWAY, &[idle, pipe("plain", 5004)])).await?;
    for condition in ["Accepted", "Programmed"] {
        let text = says(&town, "partly", (condition, "False")).await?;
        println!("partly: {text}");
        names(&text, &["UnsupportedByProxy", "pod/default/w1-1", "idle", "options.idle_timeout_ms"])?;
    }
    path::answered(root, gateway.at(5004), BOUND).context("the other listener of the same object")?;
    ensure!(echoes.iter().map(|echo| echo.seen().sources.len()).sum::<usize>() > 0);

    town.delete(&virtual_service("call", GATEWAY, &[pipe("rtp", 5000)])).await?;
    path::closes(root, gateway.at(5000), BOUND)?;
    Ok(())
}
