//! Access control: the hub's TLS and tokens, and what an agent may write, with a real API server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use envoy_types::pb::envoy::config::core::v3::Node as WireNode;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use portreeve_agent::link::{Files, Link};
use portreeve_api::PlanType;
use portreeve_api::names::HUB_AUDIENCE;
use portreeve_api::own::node_report::NodeReport;
use portreeve_tests::town::trust::{self, ACCOUNT, API_AUDIENCE};
use portreeve_tests::town::{BOUND, Town, serving_at};
use portreeve_tests::{token, wait};
use portreeve_xds::ResourceType as _;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tonic::{Code, Status};

/// If a hub can't verify a token, it must not keep an agent waiting.
const HUNG: Duration = Duration::from_secs(5);

/// Creates a link to the hub with a token (`None`: a missing file), which trusts the town's CA.
fn link(town: &Town, token: Option<&str>) -> Result<Link> {
    let file = town.dir().join("knock.token");
    match token {
        Some(token) => std::fs::write(&file, token)?,
        None => drop(std::fs::remove_file(&file)),
    }
    Ok(Link::Secure(Files { authority: town.trust.authority.clone(), token: file }))
}

/// Opens a stream like the agent of node `said`. Returns the hub's answer: the first response, or the final status.
fn knock(town: &Town, (hub, link): (SocketAddr, Link), said: &str) -> Result<Result<(), Status>> {
    let scheme = if matches!(link, Link::Plain) { "http" } else { "https" };
    let uri = format!("{scheme}://{hub}").parse()?;
    town.bed.root().block_on(async move {
        let answer = tokio::time::timeout(BOUND, async {
            let connection =
                link.connection(&uri).await.map_err(|error| Status::aborted(error.to_string()))?;
            let first = DeltaDiscoveryRequest {
                node: Some(WireNode { id: said.into(), ..Default::default() }),
                type_url: PlanType::ALL[0].type_url().into(),
                resource_names_subscribe: vec!["*".into()],
                ..Default::default()
            };
            // The requests' side stays open.
            let requests =
                futures::StreamExt::chain(futures::stream::iter([first]), futures::stream::pending());
            let mut request = tonic::Request::new(requests);
            *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(link.headers());
            let mut client = AggregatedDiscoveryServiceClient::new(connection.channel());
            let mut responses = client.delta_aggregated_resources(request).await?.into_inner();
            match responses.message().await? {
                Some(_) => Ok(()),
                None => Err(Status::ok("the stream ended")),
            }
        });
        answer.await.context("no answer")
    })?
}

/// Returns the answer of the town's hub to a token.
fn shown(town: &Town, token: Option<&str>, said: &str) -> Result<Result<(), Status>> {
    knock(town, (town.hub_address().context("no hub")?, link(town, token)?), said)
}

/// Checks that the hub refuses a token with this code and these words.
fn refused(town: &Town, token: Option<&str>, (said, code, words): (&str, Code, &[&str])) -> Result<()> {
    let answer = shown(town, token, said)?;
    let status = answer.err().with_context(|| format!("{said} was let in, {words:?} were to be said"))?;
    println!("{said}: {:?}: {}", status.code(), status.message());
    ensure!(status.code() == code, "{status:?}");
    ensure!(words.iter().all(|word| status.message().contains(word)), "{words:?} not in {status:?}");
    Ok(())
}

fn good(town: &Town, index: usize) -> Result<String> {
    Ok(std::fs::read_to_string(&town.nodes[index].token)?)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Returns a token with changed claims, signed with the API server's own key.
fn altered(town: &Town, good: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
    let mut claims = token::claims(good)?;
    change(&mut claims);
    town.control.signed_token(&claims)
}

/// Returns a valid token's claims under the right key id, signed with another key.
fn forged(good: &str) -> Result<String> {
    token::sign_as(&KeyPair::generate()?.serialize_pem(), &token::key_of(good)?, &token::claims(good)?)
}

const INTRUDER: &str = "
{apiVersion: v1, kind: ServiceAccount, metadata: {name: intruder, namespace: portreeve}}
---
apiVersion: v1
kind: Pod
metadata: {name: intruder, namespace: portreeve}
spec: {nodeName: n1, serviceAccountName: intruder, containers: [{name: c, image: i}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn only_the_token_of_an_agents_pod_on_its_own_node_is_let_in() -> Result<()> {
    let mut town = Town::without_portreeve(2).await?;
    town.start_hub()?;
    let (one, two) = (good(&town, 0)?, good(&town, 1)?);
    for (token, node) in [(&one, "n1"), (&two, "n2"), (&one, "n1")] {
        shown(&town, Some(token), node)??;
    }
    refused(&town, Some(&one), ("n2", Code::PermissionDenied, &["node n1", "node n2"]))?;
    refused(&town, None, ("n1", Code::Unauthenticated, &["needs a token"]))?;
    refused(&town, Some("garbage"), ("n1", Code::Unauthenticated, &["not a ServiceAccount token"]))?;

    let api = town.control.bound_token(ACCOUNT, "portreeve/agent-n1", API_AUDIENCE).await?;
    refused(&town, Some(&api), ("n1", Code::Unauthenticated, &["audience", API_AUDIENCE]))?;
    let unbound = town.control.unbound_token(("portreeve", ACCOUNT), HUB_AUDIENCE).await?;
    refused(&town, Some(&unbound), ("n1", Code::Unauthenticated, &["not bound to a pod"]))?;
    town.apply(INTRUDER).await?;
    let other = town.control.bound_token("intruder", "portreeve/intruder", HUB_AUDIENCE).await?;
    refused(&town, Some(&other), ("n1", Code::PermissionDenied, &["intruder", "portreeve/portreeve-agent"]))?;

    let expired = altered(&town, &one, |claims| claims["exp"] = json!(now() - 60))?;
    refused(&town, Some(&expired), ("n1", Code::Unauthenticated, &["expired"]))?;
    let gone = altered(&town, &one, |claims| claims["kubernetes.io"]["pod"]["uid"] = json!("another"))?;
    refused(&town, Some(&gone), ("n1", Code::Unauthenticated, &["API server rejects"]))?;
    refused(&town, Some(&forged(&one)?), ("n1", Code::Unauthenticated, &["signature"]))?;

    let log = town.hub.as_ref().context("no hub")?.log();
    for token in [&one, &two, &api, &unbound, &other, &expired, &gone] {
        ensure!(!log.contains(token.as_str()), "a token in the hub's log");
    }
    ensure!(log.contains("agent refused") && log.contains("other-node"), "refusals are logged:\n{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn client_in_the_clear_and_one_that_trusts_another_authority_get_nothing() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    town.start_hub()?;
    let hub = town.hub_address().context("no hub")?;
    let plain = knock(&town, (hub, Link::Plain), "n1")?;
    println!("{plain:?}");
    ensure!(plain.is_err());
    let other = town.dir().join("other");
    std::fs::create_dir(&other)?;
    trust::renew(&other.join("ca.pem"), &other)?;
    let files = Files { authority: other.join("ca.pem"), token: town.nodes[0].token.clone() };
    let strange = knock(&town, (hub, Link::Secure(files)), "n1")?.err().context("it trusted a stranger")?;
    ensure!(strange.message().contains("certificate"), "{strange:?}");
    let hub = town.hub.as_mut().context("no hub")?;
    hub.wait_log("TLS handshake failed", BOUND)?;
    ensure!(!hub.log().contains("agent connected"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_hub_says_so_and_believes_what_agents_say() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    town.trust.hub_args = vec!["--insecure".into()];
    town.start_hub()?;
    let hub = town.hub_address().context("no hub")?;
    knock(&town, (hub, Link::Plain), "anybody")??;
    ensure!(town.hub.as_ref().is_some_and(|hub| hub.log().contains("--insecure: ")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_restarts_while_the_api_server_is_away_is_known_by_the_issuers_keys() -> Result<()> {
    let mut town = Town::start(1).await?;
    town.hub.as_mut().context("no hub")?.wait_log("issuer's keys were fetched", BOUND)?;
    town.gateways().await?;
    let one = good(&town, 0)?;
    town.control.kill();
    town.nodes[0].agent.take().context("no agent")?.kill();
    town.start_agent(0)?;
    town.nodes[0].agent.as_mut().context("no agent")?.wait_log("hub connected=true", BOUND)?;

    // A different token than the agent's own, which was reviewed a moment ago.
    let fresh = altered(&town, &one, |claims| claims["jti"] = json!("fresh"))?;
    shown(&town, Some(&fresh), "n1")??;
    let hub = town.hub.as_mut().context("no hub")?;
    hub.wait_log("agent admitted by its token's signature", BOUND)?;
    refused(&town, Some(&forged(&one)?), ("n1", Code::Unauthenticated, &["signature"]))?;
    let foreign = KeyPair::generate()?.serialize_pem();
    let foreign = token::sign(&foreign, &token::claims(&one)?)?;
    refused(&town, Some(&foreign), ("n1", Code::Unavailable, &["its key is not among those"]))?;
    let issuer = altered(&town, &one, |claims| claims["iss"] = json!("https://elsewhere"))?;
    refused(&town, Some(&issuer), ("n1", Code::Unauthenticated, &["another issuer"]))?;
    let expired = altered(&town, &one, |claims| claims["exp"] = json!(now() - 60))?;
    refused(&town, Some(&expired), ("n1", Code::Unauthenticated, &["expired"]))?;
    refused(&town, Some(&fresh), ("n2", Code::PermissionDenied, &["node n1", "node n2"]))?;

    town.control.revive().await?;
    town.control.apiserver().context("no API server")?.stop()?;
    let hung = altered(&town, &one, |claims| claims["jti"] = json!("hung"))?;
    let begun = std::time::Instant::now();
    let answer = shown(&town, Some(&hung), "n1")?;
    let took = begun.elapsed();
    town.control.apiserver().context("no API server")?.cont()?;
    println!("admitted {took:.2?} beside a hung API server");
    answer?;
    ensure!(took < HUNG, "{took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_with_its_token_and_the_agent_comes_again_with_the_next() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    town.start_hub()?;
    let next = good(&town, 0)?;
    // The hub and the API server tolerate a few seconds after the expiry: this token has a few seconds left.
    let ending = altered(&town, &next, |claims| claims["exp"] = json!(now() - 4))?;
    let file = town.nodes[0].token.clone();
    std::fs::write(&file, ending)?;
    town.start_agent(0)?;
    let (agent, hub) = (&mut town.nodes[0].agent, &mut town.hub);
    let (agent, hub) = (agent.as_mut().context("no agent")?, hub.as_mut().context("no hub")?);
    agent.wait_log("hub connected=true", BOUND)?;
    std::fs::write(&file, next)?;
    agent.wait_log("credentials have expired", BOUND)?;
    wait::wait_until("a second stream", BOUND, || hub.log().matches("agent connected").count() == 2)?;
    ensure!(!hub.log().contains("agent refused"), "it came with the old one:\n{}", hub.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificate_is_shown_to_new_streams_and_a_live_one_goes_on() -> Result<()> {
    let mut town = Town::without_portreeve(2).await?;
    town.start_hub()?;
    town.start_agent(0)?;
    town.nodes[0].agent.as_mut().context("no agent")?.wait_log("hub connected=true", BOUND)?;
    // A key that doesn't belong to the certificate, as in the middle of a rotation without a rename.
    let (key, certificate) = (town.trust.serving.key.clone(), town.trust.serving.certificate.clone());
    let before = std::fs::read(&certificate)?;
    std::fs::write(&key, KeyPair::generate()?.serialize_pem())?;
    let hub = town.hub.as_mut().context("no hub")?;
    hub.wait_log("the last good certificate stays", BOUND)?;
    let directory: PathBuf = certificate.parent().context("a file in a directory")?.into();
    trust::renew(&town.trust.authority, &directory)?;
    ensure!(std::fs::read(&certificate)? != before);
    hub.wait_log("new certificate", BOUND)?;
    town.start_agent(1)?;
    town.nodes[1].agent.as_mut().context("no agent")?.wait_log("hub connected=true", BOUND)?;
    let log = town.nodes[0].agent.as_ref().context("no agent")?.log();
    ensure!(!log.contains("connected=false"), "the rotation cut a stream:\n{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_that_start_at_once_share_one_certificate_of_their_own() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    town.trust.hub_args = vec!["--tls-name=hub.example".into()];
    let mut hubs = [town.spawn_hub("a", None)?, town.spawn_hub("b", None)?];
    let maps = Api::<ConfigMap>::namespaced(town.client.clone(), "portreeve");
    let authority = wait::eventually("the published authority", BOUND, || async {
        maps.get("portreeve-hub-ca").await.ok()?.data?.remove("ca.crt")
    });
    std::fs::write(&town.trust.authority, authority.await?)?;
    let one = good(&town, 0)?;
    for hub in &mut hubs {
        hub.wait_log("certificate of the hubs' own authority", BOUND)?;
        let address = serving_at(hub)?;
        knock(&town, (address, link(&town, Some(&one))?), "n1")??;
    }
    let secrets = Api::<Secret>::namespaced(town.client.clone(), "portreeve");
    let stored = secrets.get("portreeve-hub-tls").await?.data.unwrap_or_default();
    let key = String::from_utf8_lossy(&stored["tls.key"].0).into_owned();
    let line = key.lines().nth(1).context("a key")?;
    ensure!(hubs.iter().all(|hub| !hub.log().contains(line)), "the key is in a log");
    Ok(())
}

fn report(name: &str) -> NodeReport {
    let mut report = NodeReport::default();
    report.metadata.name = Some(name.into());
    report
}

/// Returns the policy's message that rejects an attempt.
fn forbidden<T>(what: &str, words: &str, attempt: kube::Result<T>) -> Result<()> {
    match attempt {
        Ok(_) => anyhow::bail!("{what} was allowed"),
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains(words) => Ok(()),
        Err(error) => anyhow::bail!("{what}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_writes_and_deletes_its_own_nodes_report_and_no_other() -> Result<()> {
    let town = Town::without_portreeve(2).await?;
    let token = town.control.bound_token(ACCOUNT, "portreeve/agent-n1", API_AUDIENCE).await?;
    let agent = Api::<NodeReport>::all(town.control.client_with(&token)?);
    let admin = Api::<NodeReport>::all(town.client.clone());
    let (merge, apply) = (PatchParams::default(), PatchParams::apply("agent").force());
    let words = "the agent of node n1 may not write the NodeReport n2";
    // A policy needs a moment to take effect.
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    wait::until("the policy", BOUND, || async {
        forbidden("", words, agent.create(&dry, &report("n2")).await).is_ok()
    })
    .await?;

    let status = json!({"status": {"agentVersion": "1"}});
    let whole = json!({"apiVersion": "portreeve.dev/v1alpha1", "kind": "NodeReport", "status": {"agentVersion": "2"}});
    agent.create(&PostParams::default(), &report("n1")).await?;
    agent.patch_status("n1", &merge, &Patch::Merge(&status)).await?;
    agent.patch_status("n1", &apply, &Patch::Apply(&whole)).await?;
    agent.delete("n1", &DeleteParams::default()).await?;

    forbidden("create", words, agent.create(&PostParams::default(), &report("n2")).await)?;
    let mut generated = report("");
    generated.metadata.name = None;
    generated.metadata.generate_name = Some("n".into());
    forbidden("generated name", "may not write", agent.create(&PostParams::default(), &generated).await)?;
    admin.create(&PostParams::default(), &report("n2")).await?;
    forbidden("merge patch", words, agent.patch_status("n2", &merge, &Patch::Merge(&status)).await)?;
    forbidden("apply", words, agent.patch_status("n2", &apply, &Patch::Apply(&whole)).await)?;
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    forbidden("patch of the object", words, agent.patch("n2", &merge, &Patch::Merge(&labels)).await)?;
    forbidden("delete", words, agent.delete("n2", &DeleteParams::default()).await)?;

    let unbound = town.control.unbound_token(("portreeve", ACCOUNT), API_AUDIENCE).await?;
    let unbound = Api::<NodeReport>::all(town.control.client_with(&unbound)?);
    forbidden("unbound", "not bound", unbound.create(&PostParams::default(), &report("n1")).await)?;
    Ok(())
}
