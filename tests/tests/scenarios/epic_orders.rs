//! Customers' clusters order load balancers by the hub's web service, over TLS.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::future::try_join_all;
use http::Method;
use kube::Api;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::remote_endpoint::RemoteEndpoint;
use portreeve_tests::orderer::{Ordered, Orderer};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::tunnels::{self, CustomerNode};
use portreeve_tests::{epic, path, wait};
use serde_json::{Value, json};

pub const PASSWORD: &str = "secret of a test";
pub const GROUP: &str = "/api/epic/accounts/a/groups/gold";
/// The address of the customer's pod.
const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 5);
/// How long traffic may take to follow an endpoint.
const LIVE: Duration = Duration::from_secs(1);

/// A Secret with a user, in the original's form.
fn user(name: &str, namespace: &str) -> Result<String> {
    let salt = *b"salt of one test";
    let hash = bcrypt::hash_with_salt(PASSWORD, 5, salt)
        .map_err(|error| anyhow!("{error}"))?
        .format_for_version(bcrypt::Version::TwoY);
    Ok(format!(
        "
---
apiVersion: v1
kind: Secret
metadata:
  name: users
  namespace: {namespace}
  annotations: {{projectcontour.io/auth-type: basic, projectcontour.io/auth-realm: epicauth}}
stringData: {{auth: '{name}:{hash}'}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: portreeve-hub-secrets, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: portreeve-hub-secrets}}
subjects: [{{kind: ServiceAccount, name: portreeve-hub, namespace: portreeve}}]
"
    ))
}

/// An account with a user of its name, the group `gold`, whose services can be shared, and `tin`, whose can't.
fn account(name: &str) -> Result<String> {
    let namespace = format!("epic-{name}");
    let groups = epic::group(name, "gold", true) + &epic::group(name, "tin", false);
    Ok(epic::account(name, &namespace) + &groups + &user(name, &namespace)?)
}

/// The namespace `epic` with a pool and a user.
fn core(pool: &str) -> Result<String> {
    Ok(epic::pool("10.77.0.0/16", pool, "") + &user("operator", "epic")?)
}

/// A town whose hub takes orders, the address of its web service, and the authority of its certificate.
pub struct Market {
    pub town: Town,
    pub address: SocketAddr,
    authority: PathBuf,
}

// === impl Market ===

impl Market {
    /// Starts the town, whose pool has these addresses, with these accounts.
    pub async fn open(nodes: u8, pool: &str, accounts: &[&str]) -> Result<Self> {
        Self::open_with(nodes, pool, accounts, &[]).await
    }

    /// Starts it with these arguments of the hub too.
    pub async fn open_with(nodes: u8, pool: &str, accounts: &[&str], args: &[String]) -> Result<Self> {
        let mut town = Town::without_portreeve(nodes).await?;
        town.apply(&core(pool)?).await?;
        for name in accounts {
            town.apply(&account(name)?).await?;
        }
        town.trust.hub_args.push(format!("--epic-listen={}", SocketAddr::new(town.bed.root().v4(), 0)));
        town.trust.hub_args.extend_from_slice(args);
        town.start_hub()?;
        for index in 0..town.nodes.len() {
            town.start_agent(index)?;
        }
        let hub = town.hub.as_mut().context("the hub runs")?;
        hub.wait_log("serving orders of load balancers", BOUND)?;
        let log = hub.log();
        let line = log.lines().find(|line| line.contains("serving orders")).context("no line")?;
        let address = line.split("address=").nth(1).context("no address in the line")?.trim().parse()?;
        let authority = town.trust.authority.clone();
        Ok(Self { town, address, authority })
    }

    pub fn client(&self, user: Option<(&str, &str)>) -> Result<Orderer> {
        self.client_of(user, &self.authority)
    }

    /// Returns a client that trusts another authority.
    pub fn client_of(&self, user: Option<(&str, &str)>, authority: &Path) -> Result<Orderer> {
        Orderer::new(self.address, authority, user)
    }

    /// Runs a client's work in the network of the hub.
    pub fn run<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.town.bed.root().block_on(work)?
    }
}

/// Returns the keys of an object.
pub fn keys(of: &Value) -> BTreeSet<&str> {
    of.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// The ordered ports.
fn sip() -> Value {
    json!([{"name": "sip", "port": 5060, "protocol": "UDP"}])
}

fn endpoint(address: Ipv4Addr, node: IpAddr, port: u16) -> Value {
    json!({
        "cluster": "purelb-default-web",
        "address": address,
        "node-address": node,
        "port": {"name": "sip", "port": port, "protocol": "UDP"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_orders_shares_adds_endpoints_that_get_traffic_and_releases() -> Result<()> {
    let market = Market::open(1, "10.77.200.1-10.77.200.9", &["a"]).await?;
    let town = &market.town;
    town.gateways_with("  allowedNamespaces: {from: List, names: [epic-a]}\n").await?;
    let address = IpAddr::from([10, 77, 200, 1]);
    town.nodes[0].netns.add_address(address)?;
    let _carrier = tunnels::carrier(town, 0)?;
    town.apply(&tunnels::rights("a")).await?;
    let node = CustomerNode::start(town, 12, "a").await?;
    let _pod = node.pod("pod", POD, [7000, 6000])?;
    let (mut client, ports) = (market.client(Some(("a", PASSWORD)))?, sip());
    let (ordered, first, second) = market.run(async {
        let group = client.get(GROUP).await?;
        ensure!(keys(&group) == BTreeSet::from(["group", "link"]), "{group}");
        ensure!(keys(&group["link"]) == BTreeSet::from(["account", "create-service", "self"]), "{group}");
        ensure!(group["link"]["self"] == GROUP && group["group"]["metadata"]["name"] == "gold", "{group}");
        let ordered = client.order(GROUP, "web", &ports).await?;
        let shared = client.order(GROUP, "web", &ports).await?;
        ensure!(ordered.path == shared.path, "a shared service is one: {} {}", ordered.path, shared.path);
        let first = client.join(&ordered, "purelb-default-web").await?;
        let second = client.join(&shared, "other/cluster name").await?;
        ensure!(client.join(&shared, "other/cluster name").await? == second, "a cluster is one");
        let (found, link) = (client.get(&second).await?, json!({"self": second, "service": ordered.path}));
        ensure!(found == json!({"link": link}), "{found}");
        Ok((ordered, first, second))
    })?;
    check_service(&ordered)?;
    ensure!(ordered.answer["service"]["spec"]["public-address"] == address.to_string(), "{}", ordered.answer);

    let begun = Instant::now();
    let announced = market.run(client.announce(GROUP, &ordered, &endpoint(POD, node.address(), 6000)))?;
    let gateway = SocketAddr::new(address, 5060);
    path::opens(town.bed.root(), gateway, "pod", BOUND)?;
    println!("datagrams reached the pod {:.2?} after it was announced", begun.elapsed());
    market.run(async {
        let again = client.announce(GROUP, &ordered, &endpoint(POD, node.address(), 6000)).await?;
        ensure!(again == announced, "an endpoint is one: {again} {announced}");
        let found = client.get(&announced).await?;
        ensure!(keys(&found) == BTreeSet::from(["endpoint", "link"]), "{found}");
        ensure!(found["link"] == json!({"self": announced, "service": ordered.path}), "{found}");
        tunnel(&mut client, &ordered, (address, node.address())).await
    })?;

    market.run(async {
        ensure!(!client.release(&second).await?, "the other cluster uses it");
        client.delete(&announced).await?;
        client.delete(&announced).await
    })?;
    let silent = || async { path::answered(town.bed.root(), gateway, LIVE).is_err() };
    wait::until("the gateway to be silent", BOUND, silent).await?;
    ensure!(market.run(client.release(&first))?, "nobody uses it");
    let all = Api::<LoadBalancer>::namespaced(town.client.clone(), "epic-a");
    let endpoints = Api::<RemoteEndpoint>::namespaced(town.client.clone(), "epic-a");
    wait::until("load balancer and endpoints to be gone", BOUND, || async {
        let left = all.list(&Default::default()).await.map(|list| list.items.len());
        let others = endpoints.list(&Default::default()).await.map(|list| list.items.len());
        matches!((left, others), (Ok(0), Ok(0)))
    })
    .await
}

/// Compares the answer about a service, key by key, with C.5's shape.
fn check_service(ordered: &Ordered) -> Result<()> {
    let answer = &ordered.answer;
    ensure!(keys(answer) == BTreeSet::from(["link", "service"]), "{answer}");
    let links = BTreeSet::from(["create-cluster", "create-endpoint", "group", "self"]);
    ensure!(keys(&answer["link"]) == links, "{answer}");
    ensure!(answer["link"]["self"] == *ordered.path && answer["link"]["group"] == GROUP, "{answer}");
    let spec = &answer["service"]["spec"];
    ensure!(spec["service-id"] == 1, "{spec}");
    ensure!(spec["tunnel-key"].as_str().is_some_and(|key| key.len() == 24), "{spec}");
    ensure!(spec["public-ports"] == sip(), "{spec}");
    Ok(())
}

/// A node agent waits for the tunnel to its node, which is in both forms.
async fn tunnel(client: &mut Orderer, ordered: &Ordered, (epic, node): (IpAddr, IpAddr)) -> Result<()> {
    let (epic, node) = (epic.to_string(), node.to_string());
    for _ in 0..40 {
        let found = client.get(&ordered.path).await?;
        let tunnel = &found["service"]["status"]["gue-tunnel-endpoints"][&*node];
        if tunnel.is_null() {
            tokio::time::sleep(Duration::from_millis(250)).await;
            continue;
        }
        let expected = json!({
            "epic-address": epic,
            "epic-port": {"port": 6080, "protocol": "UDP", "appProtocol": "gue"},
            "tunnel-id": 1,
        });
        ensure!(*tunnel == expected, "{tunnel}");
        let later = &found["service"]["spec"]["gue-tunnel-endpoints"][&*node]["epic-endpoints"][&*epic];
        ensure!(*later == expected, "{later}");
        return Ok(());
    }
    bail!("no tunnel to {node} in 10 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_reach_their_own_account_alone_and_strangers_none() -> Result<()> {
    let market = Market::open(0, "192.0.2.0/24", &["a", "b"]).await?;
    let account = |name: &str| format!("/api/epic/accounts/{name}");
    for (user, path, expected) in [
        (Some(("a", PASSWORD)), account("a"), 200),
        (Some(("a", PASSWORD)), account("b"), 403),
        (Some(("a", PASSWORD)), format!("{}/groups/gold", account("b")), 403),
        (Some(("operator", PASSWORD)), account("a"), 200),
        (Some(("operator", PASSWORD)), account("b"), 200),
        (Some(("a", "guessed")), account("a"), 401),
        (Some(("nobody", PASSWORD)), account("a"), 401),
        (None, account("a"), 401),
        (None, "/api/epic/healthz".to_owned(), 200),
        (None, "/healthz".to_owned(), 200),
        (Some(("operator", PASSWORD)), account("c"), 404),
        (Some(("a", PASSWORD)), "/api/epic/else".to_owned(), 404),
    ] {
        let mut client = market.client(user)?;
        let reply = market.run(client.send(Method::GET, &path, None))?;
        ensure!(reply.status == expected, "{user:?} {path}: {reply:?}");
        let asked = reply.headers.get(http::header::WWW_AUTHENTICATE).is_some();
        ensure!(asked == (expected == 401), "{reply:?}");
        let error = reply.body["error"].as_str();
        ensure!(error.is_some() == (expected >= 400), "{user:?} {path}: {reply:?}");
    }
    let mut client = market.client(Some(("a", PASSWORD)))?;
    let services = format!("{GROUP}/services");
    let lost = "/api/epic/accounts/a/groups/lost/services".to_owned();
    let order = json!({"service": {"metadata": {"name": "web"}, "spec": {"public-ports": []}}});
    // No address of the pool.
    let mut foreign = order.clone();
    foreign["service"]["spec"]["public-address"] = json!("198.51.100.7");
    for (method, path, body, expected) in [
        (Method::POST, &services, json!({"service": {"metadata": {}}}), 400),
        (
            Method::POST,
            &services,
            json!({"service": {"metadata": {"name": "web"}, "spec": {"public-ports": [{"port": 0}]}}}),
            400,
        ),
        (Method::POST, &lost, order.clone(), 404),
        (Method::POST, &services, foreign, 400),
        (Method::PUT, &services, order.clone(), 405),
        (
            Method::POST,
            &services,
            json!({"SERVICE": {"Metadata": {"NAME": "web"}, "Spec": {"Public-Ports": []}}}),
            302,
        ),
        (Method::POST, &services, order, 409),
    ] {
        let reply = market.run(client.send(method, path, Some(&body)))?;
        ensure!(reply.status == expected, "{path} {body}: {reply:?}");
    }
    let stored = market.town.client.clone();
    let services = Api::<LoadBalancer>::namespaced(stored, "epic-a").list(&Default::default()).await?.items;
    ensure!(services.len() == 1, "refused orders store nothing: {services:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_customers_order_a_thousand_services_and_none_is_lost_or_double() -> Result<()> {
    const CUSTOMERS: usize = 50;
    const EACH: usize = 22;
    let market = Market::open(0, "198.18.0.0/16", &["a"]).await?;
    let customer = async |number: usize| {
        let mut client = market.client(Some(("a", PASSWORD)))?;
        let mut seen = Vec::new();
        for order in 0..EACH {
            // Every eleventh name is ordered by all customers of the same ten.
            let name = if order % 11 == 0 {
                format!("shared-{}-{order}", number / 10)
            } else {
                format!("own-{number}-{order}")
            };
            let ordered = client.order(GROUP, &name, &json!([{"port": 80}])).await?;
            let spec = &ordered.answer["service"]["spec"];
            seen.push((
                ordered.path.clone(),
                spec["service-id"].as_u64(),
                spec["public-address"].as_str().map(str::to_owned),
            ));
        }
        anyhow::Ok(seen)
    };
    let begun = Instant::now();
    let seen = market.run(async { try_join_all((0..CUSTOMERS).map(&customer)).await })?;
    let spent = begun.elapsed();
    let seen: BTreeSet<_> = seen.into_iter().flatten().collect();
    let (shared, own) = (CUSTOMERS / 10 * (EACH / 11), CUSTOMERS * (EACH - EACH / 11));
    println!(
        "{} orders, {} services in {spent:.1?}: {:.0} orders a second",
        CUSTOMERS * EACH,
        seen.len(),
        (CUSTOMERS * EACH) as f64 / spent.as_secs_f64()
    );
    ensure!(seen.len() == shared + own, "{} services, not {}", seen.len(), shared + own);
    let paths: BTreeSet<_> = seen.iter().map(|(path, ..)| path).collect();
    let ids: BTreeSet<_> = seen.iter().filter_map(|(_, id, _)| *id).collect();
    let addresses: BTreeSet<_> = seen.iter().filter_map(|(.., address)| address.as_ref()).collect();
    ensure!(
        [paths.len(), ids.len(), addresses.len()] == [seen.len(); 3],
        "{} {} {}",
        paths.len(),
        ids.len(),
        addresses.len()
    );
    let stored = Api::<LoadBalancer>::namespaced(market.town.client.clone(), "epic-a")
        .list(&Default::default())
        .await?;
    ensure!(stored.items.len() == seen.len(), "{} are stored", stored.items.len());
    ensure!(ids.last() == Some(&(seen.len() as u64)), "ids were lost: the highest is {:?}", ids.last());
    Ok(())
}
