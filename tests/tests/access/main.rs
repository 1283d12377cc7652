//! Who may connect to a TCP listener of a real Envoy: a rejected peer reaches nothing, and changes of other peers or of
//! certificates cut nobody.

mod client;
mod rig;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::join_all;
use portreeve_api::plan;
use portreeve_tests::banner::Client;
use portreeve_tests::certs::{Authority, Signed};
use portreeve_tests::netns::Netns;
use portreeve_tests::wait;

use client::{plain, tls};
use rig::{BOUND, Known, PEERS, Rig, mk_ingress};

/// The number of connections that must live.
const LIVE: u8 = 100;
/// How soon a change must act.
const PROMPT: Duration = Duration::from_secs(1);
const CERTIFICATE: &str = "ns/web/tls.crt";
const AUTHORITY: &str = "ns/web/ca.crt";

fn runs<F: Future<Output = Result<()>> + Send>(test: impl FnOnce(Netns) -> F) -> Result<()> {
    let netns = Netns::new("access")?;
    netns.block_on(test(netns.clone()))?
}

async fn all_live(clients: &mut [Client]) -> Result<()> {
    let alive = join_all(clients.iter_mut().map(Client::lives)).await;
    let lost = alive.iter().filter(|alive| !**alive).count();
    ensure!(lost == 0, "{lost} of {} connections are lost", alive.len());
    Ok(())
}

/// Waits until filter chains that were drained would have been removed with their connections.
async fn beyond_the_drain_time(rig: &Rig) -> Result<()> {
    let begun = rig.admin.stat("server.uptime").await?;
    wait::until("the drain time", BOUND, || async {
        rig.admin.stat("server.uptime").await.is_ok_and(|now| now >= begun + 3)
    })
    .await
}

/// Publishes the changed peers, and waits until one of them is admitted or not.
async fn admitted_promptly(rig: &mut Rig, peer: IpAddr, admitted: bool) -> Result<()> {
    rig.publish()?;
    wait::until("the change of a peer", PROMPT, || async {
        plain(peer).await.is_ok_and(|client| client.is_some() == admitted)
    })
    .await
}

#[test]
fn peers_come_and_go_without_harm_to_others_and_rejected_ones_reach_nothing() -> Result<()> {
    runs(|netns| async move {
        let mut plan = mk_ingress();
        plan.listeners[0].sources =
            Some(plan::SourcePolicy { groups: vec![PEERS.into()], ..Default::default() });
        let live: Vec<IpAddr> = (1..=LIVE).map(|i| [127, 0, 1, i].into()).collect();
        let mut known = Known::default();
        known.peers.extend(&live);
        let mut rig = Rig::start(&netns, plan, known).await?;
        let mut clients = Vec::new();
        for ip in &live {
            clients.extend(plain(*ip).await?);
        }
        ensure!(clients.len() == live.len(), "{} of {LIVE} were admitted", clients.len());
        for i in 1..=20 {
            ensure!(plain([127, 0, 3, i].into()).await?.is_none(), "127.0.3.{i} got the banner");
        }
        ensure!(rig.accepted() == live.len(), "a rejected peer reached the application");
        for i in 1..=25 {
            let peer: IpAddr = [127, 0, 2, i].into();
            rig.known.peers.insert(peer);
            admitted_promptly(&mut rig, peer, true).await?;
            rig.known.peers.remove(&peer);
            admitted_promptly(&mut rig, peer, false).await?;
        }
        all_live(&mut clients).await?;
        beyond_the_drain_time(&rig).await?;
        ensure!(rig.admin.stat("listener_manager.listener_in_place_updated").await? == 50);
        all_live(&mut clients).await
    })
}

/// The certificates of one test.
struct Pki {
    authority: Authority,
    other: Authority,
    server: Signed,
}

// === impl Pki ===

impl Pki {
    fn new() -> Result<Self> {
        let authority = Authority::new("authority")?;
        let server = authority.sign("web", &["web.example"])?;
        Ok(Self { authority, other: Authority::new("other")?, server })
    }

    fn known(&self) -> Known {
        let mut known = Known::default();
        known.certificate(CERTIFICATE, &self.server);
        known.authority(AUTHORITY, self.authority.pem());
        known
    }

    async fn admits(&self, client: Option<&Signed>, speaks: bool) -> Result<bool> {
        Ok(tls(&self.authority, client, speaks).await?.is_some())
    }
}

/// Returns a Plan whose listener admits these names.
fn mk_named(principals: &[&str]) -> plan::Plan {
    let mut plan = mk_ingress();
    plan.listeners[0].tls = Some(plan::Tls {
        certificate: CERTIFICATE.into(),
        authority: AUTHORITY.into(),
        require_peer_certificate: true,
        ..Default::default()
    });
    admit(&mut plan, principals);
    plan
}

fn admit(plan: &mut plan::Plan, principals: &[&str]) {
    let principals = principals.iter().map(ToString::to_string).collect();
    plan.listeners[0].sources = Some(plan::SourcePolicy { principals, ..Default::default() });
}

#[test]
fn client_without_an_admitted_name_reaches_nothing() -> Result<()> {
    runs(|netns| async move {
        let pki = Pki::new()?;
        let rig = Rig::start(&netns, mk_named(&["spiffe://ns/alice", "bob.example"]), pki.known()).await?;
        let alice = pki.authority.sign("alice", &["spiffe://ns/alice"])?;
        let bob = pki.authority.sign("bob", &["other.example", "bob.example"])?;
        for client in [&alice, &bob] {
            ensure!(pki.admits(Some(client), false).await?);
        }
        let wrong_name = pki.authority.sign("bob.example", &["spiffe://ns/mallory"])?;
        let wrong_authority = pki.other.sign("alice", &["spiffe://ns/alice"])?;
        for client in [Some(&wrong_name), Some(&wrong_authority), None] {
            ensure!(!pki.admits(client, false).await? && !pki.admits(client, true).await?);
        }
        ensure!(rig.accepted() == 2, "the application accepted {} connections", rig.accepted());
        Ok(())
    })
}

#[test]
fn client_without_an_admitted_subject_reaches_nothing() -> Result<()> {
    runs(|netns| async move {
        let pki = Pki::new()?;
        let plan = mk_named(&["CN=carol,O=example", "bob.example"]);
        let rig = Rig::start(&netns, plan, pki.known()).await?;
        let carol = pki.authority.sign("carol", &[])?;
        let bob = pki.authority.sign("bob", &["bob.example"])?;
        for client in [&carol, &bob] {
            ensure!(pki.admits(Some(client), true).await?);
        }
        let mallory = pki.authority.sign("mallory", &["carol"])?;
        let wrong_authority = pki.other.sign("carol", &[])?;
        for client in [Some(&mallory), Some(&wrong_authority), None] {
            ensure!(!pki.admits(client, true).await?);
        }
        ensure!(rig.accepted() == 2, "the application accepted {} connections", rig.accepted());
        Ok(())
    })
}

#[test]
fn certificate_and_names_change_under_live_connections() -> Result<()> {
    runs(|netns| async move {
        let pki = Pki::new()?;
        let names = ["alice.example", "bob.example"];
        let mut rig = Rig::start(&netns, mk_named(&names), pki.known()).await?;
        let [alice, bob] = names.map(|name| pki.authority.sign(name, &[name]));
        let (alice, bob) = (alice?, bob?);
        let mut clients = Vec::new();
        for i in 0..LIVE {
            let own = if i % 2 == 0 { &alice } else { &bob };
            clients.extend(tls(&pki.authority, Some(own), false).await?);
        }
        ensure!(clients.len() == usize::from(LIVE));
        let first = clients[0].server.clone();
        rig.known.certificate(CERTIFICATE, &pki.authority.sign("web", &["web.example"])?);
        rig.publish()?;
        wait::until("the new certificate", PROMPT, || async {
            let client = tls(&pki.authority, Some(&bob), false).await;
            client.is_ok_and(|client| client.is_some_and(|client| client.server != first))
        })
        .await?;
        admit(&mut rig.plan, &["bob.example"]);
        rig.publish()?;
        wait::until("the end of a name", PROMPT, || async {
            pki.admits(Some(&alice), false).await.is_ok_and(|admitted| !admitted)
        })
        .await?;
        ensure!(pki.admits(Some(&bob), false).await?);
        beyond_the_drain_time(&rig).await?;
        ensure!(rig.admin.stat("listener_manager.listener_modified").await? == 0);
        all_live(&mut clients).await
    })
}
