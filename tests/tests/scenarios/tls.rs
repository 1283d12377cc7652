//! IngressListeners with TLS on an Envoy in a pod: certificates and authorities come from Secrets, and changes of these
//! cut nobody.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::join_all;
use kube::Api;
use portreeve_api::d::ingress_listener::IngressListener;
use portreeve_tests::banner::{self, Client, SERVER, connect};
use portreeve_tests::certs::{Authority, Leaf, Signed};
use portreeve_tests::greeter::Greeter;
use portreeve_tests::netns::Netns;
use portreeve_tests::town::{BOUND, Town, Worker, listeners};
use portreeve_tests::{kustomize, wait};
use serde_json::json;

/// The listener's port, and the application's.
pub const LISTEN: u16 = 8443;
const APPLICATION: u16 = 5001;
/// The number of connections that must live.
const LIVE: usize = 100;
/// Long, because the machine may be busy; a change takes a few hundredths of a second.
const SECONDS: Duration = Duration::from_secs(10);
/// The Secret with the server's certificate, and the one with the authority of its clients.
pub const CERTIFICATE: &str = "web-tls";
pub const CLIENTS: &str = "web-clients";
/// Envoy's counters of changed listeners.
const CHANGES: [&str; 4] = ["added", "modified", "in_place_updated", "removed"];

/// A pod with an application behind its Envoy, which has the node name `web`.
pub struct Stage {
    pub town: Town,
    pub web: Worker,
    pub application: Greeter,
    pub authority: Authority,
}

/// Returns an IngressListener for the Envoys named `web`, which admits these names.
pub fn ingress(names: &[&str]) -> String {
    json!({
        "apiVersion": "ingresslistener.envoy.uw.systems/v1alpha1",
        "kind": "IngressListener",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "nodename": "web", "listenport": LISTEN, "targetport": APPLICATION, "rbac": {"sans": names},
            "tls": {"secret": CERTIFICATE, "validation": CLIENTS},
        },
    })
    .to_string()
}

/// Returns a Secret with a certificate, an authority, or both.
pub fn secret(name: &str, pair: Option<&Signed>, authority: Option<&Authority>) -> String {
    let mut data = json!({});
    if let Some(pair) = pair {
        (data["tls.crt"], data["tls.key"]) = (pair.certificate.as_str().into(), pair.key.as_str().into());
    }
    if let Some(authority) = authority {
        data["ca.crt"] = authority.pem().into();
    }
    let meta = json!({"name": name, "namespace": "default"});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}).to_string()
}

// === impl Stage ===

impl Stage {
    /// Starts everything. There is no object yet, and no Secret.
    pub async fn start() -> Result<Self> {
        let town = Town::start(1).await?;
        ensure!(town.cgroups.is_some(), "an Envoy that claims a node name is known by its cgroup");
        let binding = kustomize::deploy().join("components/secrets/binding.yaml");
        town.apply(&std::fs::read_to_string(binding)?).await?;
        let mut web = town.worker(1, 1, "app: web", false).await?;
        town.start_sidecar_as(&mut web, 0, "web")?;
        let application = banner::application(&web.netns, APPLICATION)?;
        Ok(Self { town, web, application, authority: Authority::new("authority")? })
    }

    /// Starts everything with the object and its Secrets, and waits until the listener is open. Returns the server's
    /// certificate too.
    pub async fn open(names: &[&str]) -> Result<(Self, Signed)> {
        let stage = Self::start().await?;
        let server = stage.rotate(&Leaf::new("web", &[SERVER])).await?;
        stage.town.apply(&secret(CLIENTS, None, Some(&stage.authority))).await?;
        stage.town.apply(&ingress(names)).await?;
        listeners(&stage.web.admin, &["ingress"], BOUND).await?;
        Ok((stage, server))
    }

    /// Stores a new certificate of the server.
    pub async fn rotate(&self, leaf: &Leaf<'_>) -> Result<Signed> {
        let signed = self.authority.issue(leaf)?;
        self.town.apply(&secret(CERTIFICATE, Some(&signed), None)).await?;
        Ok(signed)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.web.ip(), LISTEN)
    }

    /// Connects with a certificate from another host. Returns `None` if the client is rejected.
    pub async fn client(&self, own: Option<&Signed>, speaks: bool) -> Result<Option<Client>> {
        Client::tls(connect(self.root(), self.address())?, &self.authority, own, speaks).await
    }

    /// Returns whether a client with this certificate reaches the application.
    pub async fn admits(&self, own: &Signed) -> bool {
        self.client(Some(own), false).await.is_ok_and(|client| client.is_some())
    }

    fn root(&self) -> &Netns {
        self.town.bed.root()
    }

    /// Waits until new connections get this certificate, and returns how long that took.
    pub async fn serves(&self, server: &Signed, own: &Signed) -> Result<Duration> {
        let begun = Instant::now();
        wait::until("the new certificate", SECONDS, || async {
            let client = self.client(Some(own), false).await;
            client.is_ok_and(|client| client.is_some_and(|client| client.server == server.der))
        })
        .await?;
        Ok(begun.elapsed())
    }

    /// Waits until the object has this condition, and returns its message.
    pub async fn told(&self, kind: &str, status: &str, contains: &str) -> Result<String> {
        let api = Api::<IngressListener>::namespaced(self.town.client.clone(), "default");
        let what = format!("{kind}={status} with {contains:?}");
        wait::seen(api, wait::named("web"), (&what, BOUND), |object| {
            let conditions = object.status.iter().flat_map(|status| &status.conditions);
            let mut these = conditions.filter(|one| one.type_ == kind && one.status == status);
            these
                .find(|one| one.message.contains(contains))
                .map(|one| format!("{}: {}", one.reason, one.message))
        })
        .await
    }

    /// Returns the sum of the Envoy's counters with this ending.
    pub async fn counted(&self, ending: &str) -> Result<u64> {
        let stats = self.web.admin.stats().await?;
        Ok(stats.iter().filter(|(name, _)| name.ends_with(ending)).map(|(_, count)| count).sum())
    }

    /// Returns how often the Envoy's listeners changed.
    async fn changes(&self) -> Result<Vec<u64>> {
        let stats = self.web.admin.stats().await?;
        let count = |what: &&str| stats.get(&format!("listener_manager.listener_{what}")).copied();
        Ok(CHANGES.iter().filter_map(count).collect())
    }
}

/// Checks that all of these connections still answer.
pub async fn all_live(clients: &mut [Client]) -> Result<()> {
    let alive = join_all(clients.iter_mut().map(Client::lives)).await;
    let lost = alive.iter().filter(|alive| !**alive).count();
    ensure!(lost == 0, "{lost} of {} connections are lost", alive.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn listener_is_closed_and_tells_why_until_its_secrets_are_whole() -> Result<()> {
    let stage = Stage::start().await?;
    let (town, admin) = (&stage.town, &stage.web.admin);
    let alice = stage.authority.sign("alice", &["alice.example"])?;
    town.apply(&ingress(&["alice.example"])).await?;
    println!("{}", stage.told("ResolvedRefs", "False", "Secret default/web-tls does not exist").await?);
    let server = stage.authority.sign("web", &[SERVER])?;
    let half = Signed { key: "none".into(), ..server.clone() };
    town.apply(&secret(CERTIFICATE, Some(&half), None)).await?;
    println!("{}", stage.told("ResolvedRefs", "False", "has a key tls.key that holds no private key").await?);
    ensure!(connect(stage.root(), stage.address()).is_err(), "the port is open");
    town.apply(&secret(CERTIFICATE, Some(&server), None)).await?;
    println!("{}", stage.told("Programmed", "False", "opened: spec.tls.validation").await?);
    ensure!(admin.listeners().await?.is_empty(), "a listener without its Secrets");

    let begun = Instant::now();
    town.apply(&secret(CLIENTS, None, Some(&stage.authority))).await?;
    listeners(admin, &["ingress"], SECONDS).await?;
    println!("open after {:?}", begun.elapsed());
    ensure!(stage.client(Some(&alice), false).await?.is_some_and(|client| client.server == server.der));
    println!("{}", stage.told("Programmed", "True", "").await?);
    stage.told("ResolvedRefs", "True", "").await?;

    town.delete(&secret(CLIENTS, None, None)).await?;
    listeners(admin, &[], SECONDS).await?;
    println!("{}", stage.told("Programmed", "False", "").await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_cuts_no_connection_and_changes_no_listener() -> Result<()> {
    let (stage, first) = Stage::open(&["alice.example"]).await?;
    let alice = stage.authority.sign("alice", &["alice.example"])?;
    let mut clients = Vec::new();
    for _ in 0..LIVE {
        clients.extend(stage.client(Some(&alice), false).await?);
    }
    ensure!(clients.len() == LIVE && clients.iter().all(|client| client.server == first.der));
    let before = stage.changes().await?;
    for rsa in [true, false, true, false] {
        let server = stage.rotate(&Leaf { rsa, ..Leaf::new("web", &[SERVER]) }).await?;
        println!("RSA: {rsa}, after {:?}", stage.serves(&server, &alice).await?);
    }
    // The clients' authority is changed in the same way.
    let other = Authority::new("other")?;
    let bob = other.sign("bob", &["alice.example"])?;
    ensure!(stage.client(Some(&bob), false).await?.is_none());
    stage.town.apply(&secret(CLIENTS, None, Some(&other))).await?;
    wait::until("the new authority", SECONDS, || async {
        stage.admits(&bob).await && !stage.admits(&alice).await
    })
    .await?;
    all_live(&mut clients).await?;
    ensure!(stage.changes().await? == before, "{before:?}");
    // A broken certificate closes the listener. It must not stay with a key that its owner took back.
    let broken = Signed { key: alice.key, ..first };
    stage.town.apply(&secret(CERTIFICATE, Some(&broken), None)).await?;
    println!("{}", stage.told("ResolvedRefs", "False", "tls.key that is not the key of tls.crt").await?);
    listeners(&stage.web.admin, &[], SECONDS).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_a_good_certificate_are_rejected_and_counted() -> Result<()> {
    let (stage, _) = Stage::open(&["alice.example", "spiffe://ns/bob"]).await?;
    let (authority, other) = (&stage.authority, Authority::new("other")?);
    let alice = authority.sign("alice", &["alice.example"])?;
    let bob =
        authority.issue(&Leaf { organization: None, rsa: true, ..Leaf::new("bob", &["spiffe://ns/bob"]) })?;
    for own in [&alice, &bob] {
        ensure!(stage.client(Some(own), false).await?.is_some());
    }
    let expired = authority.issue(&Leaf { expired: true, ..Leaf::new("alice", &["alice.example"]) })?;
    let (stranger, nameless) =
        (other.sign("alice", &["alice.example"])?, authority.sign("alice.example", &[])?);
    let mallory = authority.sign("alice.example", &["mallory.example"])?;
    for (own, counter, count) in [
        (None, "ssl.fail_verify_no_cert", 2),
        (Some(&stranger), "ssl.fail_verify_error", 2),
        (Some(&expired), "ssl.fail_verify_error", 4),
        (Some(&mallory), "ssl.fail_verify_san", 2),
        (Some(&nameless), "ssl.fail_verify_san", 4),
    ] {
        ensure!(stage.client(own, false).await?.is_none() && stage.client(own, true).await?.is_none());
        let counted = || async { stage.counted(counter).await.is_ok_and(|now| now == count) };
        wait::until(&format!("{counter}: {count}"), SECONDS, counted).await?;
    }
    ensure!(stage.application.accepted() == 2, "{} connections", stage.application.accepted());

    // With a subject among the names the first byte decides. cert-manager issues certificates without an organization.
    stage.town.apply(&ingress(&["CN=bob"])).await?;
    let bare = authority.issue(&Leaf { organization: None, ..Leaf::new("bob", &[]) })?;
    wait::until("a client with a bare subject", SECONDS, || async {
        stage.client(Some(&bare), true).await.is_ok_and(|client| client.is_some())
    })
    .await?;
    let whole = authority.sign("bob", &[])?;
    ensure!(stage.client(Some(&whole), true).await?.is_none(), "its subject is O=example,CN=bob");
    Ok(())
}
