//! The web service of API C, row by row of its table: each request with each of its status codes.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use http::Method;
use kube::Api;
use portreeve_api::c::remote_endpoint::RemoteEndpoint;
use portreeve_tests::orderer::{Orderer, Reply};
use portreeve_tests::town::BOUND;
use portreeve_tests::wait;
use serde_json::{Value, json};

use crate::epic_orders::{GROUP, Market, PASSWORD, keys};

const ACCOUNT: &str = "/api/epic/accounts/a";
const OTHER: &str = "/api/epic/accounts/a/groups/tin";
/// The service `web` of the group `gold`.
const SERVICE: &str = "/api/epic/accounts/a/services/gold-web";
/// Who may ask for everything.
const OPERATOR: Option<(&str, &str)> = Some(("operator", PASSWORD));

/// The keys of an answer's body.
const ERROR: &[&str] = &["error"];
const MESSAGE: &[&str] = &["message"];
const EXISTS: &[&str] = &["link", "message"];
const LINK: &[&str] = &["link"];

/// Sends a request and compares the answer's status and keys. An error's text is also in the header, and what was created or
/// exists has a Location without scheme and host.
async fn asked(
    client: &mut Orderer,
    (method, path, body): (Method, &str, Option<Value>),
    (status, expected): (u16, &[&str]),
) -> Result<Reply> {
    let title = format!("{method} {path} {}", body.clone().unwrap_or_default());
    let reply = client.send(method.clone(), path, body.as_ref()).await?;
    ensure!(reply.status == status, "{title}: {reply:?}");
    ensure!(keys(&reply.body) == BTreeSet::from_iter(expected.iter().copied()), "{title}: {reply:?}");
    let header = reply.headers.get("x-epic-error-message").and_then(|text| text.to_str().ok());
    ensure!(header == reply.body["error"].as_str(), "{title}: {reply:?}");
    let has_location = method == Method::POST && (status == 302 || expected.contains(&"link"));
    let location = reply.location().unwrap_or_default();
    ensure!(location.starts_with("/api/epic/accounts/a/") == has_location, "{title}: {reply:?}");
    if has_location && status == 409 {
        ensure!(reply.body["link"] == json!({"self": location}), "{title}: {reply:?}");
    }
    Ok(reply)
}

fn get(path: &str) -> (Method, &str, Option<Value>) {
    (Method::GET, path, None)
}

fn delete(path: &str) -> (Method, &str, Option<Value>) {
    (Method::DELETE, path, None)
}

fn post(path: &str, body: Value) -> (Method, &str, Option<Value>) {
    (Method::POST, path, Some(body))
}

fn order(name: &str) -> Value {
    json!({"service": {"metadata": {"name": name}, "spec": {"public-ports": []}}})
}

/// An endpoint, with the keys in PureLB's case.
fn endpoint(cluster: &str, address: &str) -> Value {
    let port = json!({"name": "sip", "port": 6000, "protocol": "UDP"});
    json!({"Endpoint": {"spec": {"cluster": cluster, "address": address, "Port": port, "node-address": "192.0.2.17"}}})
}

fn links(reply: &Reply) -> BTreeSet<&str> {
    keys(&reply.body["link"])
}

async fn accounts_and_groups(client: &mut Orderer) -> Result<()> {
    let found = asked(client, get(ACCOUNT), (200, &["account", "link"])).await?;
    ensure!(links(&found) == BTreeSet::from(["self"]), "{found:?}");
    ensure!(found.body["account"]["kind"] == "Account", "whole objects: {found:?}");
    asked(client, get("/api/epic/accounts/lost"), (404, ERROR)).await?;
    let found = asked(client, get(GROUP), (200, &["group", "link"])).await?;
    ensure!(links(&found) == BTreeSet::from(["account", "create-service", "self"]), "{found:?}");
    asked(client, get(&format!("{ACCOUNT}/groups/lost")), (404, ERROR)).await?;
    Ok(())
}

async fn services(client: &mut Orderer) -> Result<()> {
    let create = format!("{GROUP}/services");
    asked(client, post(&create, json!("text")), (400, ERROR)).await?;
    asked(client, post(&create, json!({"service": {"metadata": {}}})), (400, ERROR)).await?;
    asked(client, post(&format!("{ACCOUNT}/groups/lost/services"), order("web")), (404, ERROR)).await?;
    let created = asked(client, post(&create, order("web")), (302, &[])).await?;
    ensure!(created.location() == Some(SERVICE), "a shared service keeps its name: {created:?}");
    let found = asked(client, get(SERVICE), (200, &["link", "service"])).await?;
    ensure!(
        links(&found) == BTreeSet::from(["create-cluster", "create-endpoint", "group", "self"]),
        "{found:?}"
    );
    ensure!(found.body["link"]["group"] == GROUP, "{found:?}");
    let again = asked(client, post(&create, order("web")), (409, EXISTS)).await?;
    ensure!(again.location() == Some(SERVICE), "{again:?}");

    let mut own = BTreeSet::new();
    for _ in 0..2 {
        let created = asked(client, post(&format!("{OTHER}/services"), order("web")), (302, &[])).await?;
        let name = created.location().and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned();
        let digits = name.strip_prefix("tin-web-").unwrap_or_default();
        ensure!(digits.len() == 16 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
        own.insert(name);
    }
    ensure!(own.len() == 2, "a service that can't be shared is one of its own: {own:?}");
    // The pool has three addresses.
    asked(client, post(&create, order("more")), (500, ERROR)).await?;
    let freed = format!("{ACCOUNT}/services/{}", own.first().context("a service")?);
    for path in [&freed, &freed, &format!("{ACCOUNT}/services/lost")] {
        asked(client, delete(path), (200, MESSAGE)).await?;
    }
    asked(client, get(&freed), (404, ERROR)).await?;
    Ok(())
}

async fn clusters(client: &mut Orderer) -> Result<()> {
    let (create, name) = (format!("{SERVICE}/clusters"), "customer/one two");
    let lost = format!("{ACCOUNT}/services/lost/clusters");
    asked(client, post(&create, json!({"cluster-id": ""})), (400, ERROR)).await?;
    asked(client, post(&lost, json!({"cluster-id": name})), (404, ERROR)).await?;
    let created = asked(client, post(&create, json!({"cluster-id": name})), (302, &[])).await?;
    let path = created.location().context("a Location")?.to_owned();
    ensure!(path == format!("{create}/customer%2Fone+two"), "the name is escaped as Go does: {path}");
    let again = asked(client, post(&create, json!({"Cluster-ID": name})), (409, EXISTS)).await?;
    ensure!(again.location() == Some(&*path), "{again:?}");
    let found = asked(client, get(&path), (200, LINK)).await?;
    ensure!(found.body["link"] == json!({"self": path, "service": SERVICE}), "{found:?}");
    asked(client, get(&format!("{create}/lost")), (404, ERROR)).await?;
    let kept = asked(client, delete(SERVICE), (409, MESSAGE)).await?;
    let phrase = "LB epic-a/gold-web has upstream clusters, can't delete: [customer/one two]";
    ensure!(kept.body["message"].as_str().is_some_and(|text| text.ends_with(phrase)), "{kept:?}");
    asked(client, delete(&path), (200, MESSAGE)).await?;
    asked(client, delete(&path), (404, ERROR)).await?;
    Ok(())
}

async fn endpoints(client: &mut Orderer) -> Result<()> {
    let create = format!("{SERVICE}/endpoints");
    asked(client, post(&create, endpoint("one", "no address")), (400, ERROR)).await?;
    let lost = format!("{ACCOUNT}/services/lost/endpoints");
    asked(client, post(&lost, endpoint("one", "10.1.0.5")), (404, ERROR)).await?;
    let created = asked(client, post(&create, endpoint("one", "10.1.0.5")), (302, &[])).await?;
    let path = created.location().context("a Location")?.to_owned();
    let name = path.rsplit('/').next().unwrap_or_default();
    let digits = name.strip_prefix("10-1-0-5-6000-udp-").unwrap_or_default();
    ensure!(digits.len() == 16 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
    let body = ["endpoint", "link", "message"];
    let again = asked(client, post(&create, endpoint("one", "10.1.0.5")), (409, &body)).await?;
    ensure!(again.location() == Some(&*path), "{again:?}");
    let phrase = format!("duplicate endpoint: {name}");
    ensure!(again.body["message"].as_str().is_some_and(|text| text.ends_with(&phrase)), "{again:?}");
    let found = asked(client, get(&path), (200, &["endpoint", "link"])).await?;
    ensure!(found.body["link"] == json!({"self": path, "service": SERVICE}), "{found:?}");
    asked(client, get(&format!("{create}/lost")), (404, ERROR)).await?;
    for _ in 0..2 {
        asked(client, delete(&path), (200, MESSAGE)).await?;
    }
    asked(client, get(&path), (404, ERROR)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_the_table_has_its_codes_links_and_keys() -> Result<()> {
    let market = Market::open(0, "192.0.2.1-192.0.2.3", &["a"]).await?;
    let mut client = market.client(OPERATOR)?;
    market.run(async {
        accounts_and_groups(&mut client).await?;
        services(&mut client).await?;
        clusters(&mut client).await?;
        endpoints(&mut client).await
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_go_with_their_cluster_and_those_of_other_clusters_stay() -> Result<()> {
    let market = Market::open(0, "192.0.2.1-192.0.2.3", &["a"]).await?;
    let mut client = market.client(OPERATOR)?;
    market.run(async {
        let client = &mut client;
        asked(client, post(&format!("{GROUP}/services"), order("web")), (302, &[])).await?;
        for (cluster, address) in [("one", "10.1.0.5"), ("one", "10.1.0.6"), ("two", "10.1.0.5")] {
            let body = json!({"cluster-id": cluster});
            client.post(&format!("{SERVICE}/clusters"), &body).await?;
            asked(client, post(&format!("{SERVICE}/endpoints"), endpoint(cluster, address)), (302, &[]))
                .await?;
        }
        Ok(())
    })?;
    let stored = Api::<RemoteEndpoint>::namespaced(market.town.client.clone(), "epic-a");
    let clusters = async || {
        let listed = stored.list(&Default::default()).await.map(|list| list.items).unwrap_or_default();
        let living = listed.iter().filter(|one| one.metadata.deletion_timestamp.is_none());
        living.map(|one| one.cluster().ok().flatten().unwrap_or_default()).collect::<Vec<_>>()
    };
    ensure!(clusters().await.len() == 3, "{:?}", clusters().await);
    for (cluster, expected) in [("one", &["two"][..]), ("two", &[])] {
        market.run(async {
            asked(&mut client, delete(SERVICE), (409, MESSAGE)).await?;
            asked(&mut client, delete(&format!("{SERVICE}/clusters/{cluster}")), (200, MESSAGE)).await
        })?;
        let gone = || async { clusters().await == expected };
        wait::until(&format!("the endpoints of {cluster} to be gone"), BOUND, gone).await?;
    }
    market.run(asked(&mut client, delete(SERVICE), (200, MESSAGE)))?;
    Ok(())
}
