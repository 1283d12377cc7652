//! Announces the node's pods to EPIC, and reads the tunnels to the node there: [`Announcer`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use portreeve_api::c::load_balancer::{DEFINITION, LoadBalancer};
use portreeve_gue::announced::Announcement;
use portreeve_gue::customer::{Endpoint, Facts, Object};
use portreeve_gue::ipv4::Transport;
use portreeve_runtime::Guard;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, sleep};

use super::cluster::Seen;
use super::web::Web;
use crate::objects::Known;

/// How long changes are collected before they are handled.
const GATHER: Duration = Duration::from_millis(20);

/// How often what failed or isn't there yet is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often a load balancer is read again. What its tunnels are seldom changes.
const REREAD: Duration = Duration::from_secs(60);

/// The kind of the endpoints, among those that the customer's end knows.
const KIND: &str = "announced";

/// Announces a node's pods.
pub struct Announcer {
    web: Web,
    seen: Arc<Seen>,
    known: Arc<Known>,
    node: IpAddr,
    /// What was announced, with its path in the web service.
    announced: BTreeMap<Announcement, String>,
    /// The load balancers that were read, by their paths.
    read: BTreeMap<String, Read>,
    /// Dropped when everything was announced and read once.
    guard: Option<Guard>,
}

/// A load balancer that was read.
struct Read {
    /// The number of its account.
    group: u16,
    /// What the node needs of it. `None`: it has no tunnel to the node yet.
    facts: Option<Facts>,
    at: Instant,
}

// === impl Announcer ===

impl Announcer {
    /// Creates an announcer of a node with this address. What it reads becomes `known`.
    pub fn new(web: Web, seen: Arc<Seen>, known: Arc<Known>, node: IpAddr) -> Self {
        let guard = Some(known.guard("tunnels"));
        Self { web, seen, known, node, announced: BTreeMap::new(), read: BTreeMap::new(), guard }
    }

    /// Follows the customer's cluster, and never returns. What was announced stays when the process ends: another one takes over.
    ///
    /// # Errors
    /// Never returns an error: failures are logged and tried again.
    pub async fn run(mut self) -> Result<()> {
        let (seen, mut again) = (self.seen.clone(), tokio::time::interval(AGAIN));
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut problem = None;
        loop {
            tokio::select! {
                () = seen.changed.notified() => sleep(GATHER).await,
                _ = again.tick() => {}
            }
            let failed = self.follow().await.err().map(|error| format!("{error:#}"));
            if failed != problem {
                if let Some(error) = &failed {
                    tracing::warn!(error, "EPIC doesn't know all of this node's pods, trying again");
                }
                problem = failed;
            }
        }
    }

    /// Brings the web service and what is known of it up to date. A failure costs nothing else; the first one is returned.
    async fn follow(&mut self) -> Result<()> {
        let Some(wanted) = self.seen.announcements() else { return Ok(()) };
        let mut outcome = self.withdraw(&wanted).await;
        for one in &wanted {
            if !self.announced.contains_key(one) {
                match self.announce(one).await {
                    Ok(path) => drop(self.announced.insert(one.clone(), path)),
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
        }
        let paths: BTreeSet<&String> = wanted.iter().map(|one| &one.of.path).collect();
        for path in paths {
            outcome = outcome.and(self.refresh(path).await);
        }
        self.tell(&wanted);
        if outcome.is_ok() {
            self.guard = None;
        }
        outcome
    }

    /// Withdraws what isn't wanted any more.
    async fn withdraw(&mut self, wanted: &BTreeSet<Announcement>) -> Result<()> {
        let gone = self.announced.keys().filter(|one| !wanted.contains(one));
        let (gone, mut outcome): (Vec<Announcement>, _) = (gone.cloned().collect(), Ok(()));
        for one in gone {
            let path = self.announced[&one].clone();
            match self.web.delete(&path).await {
                Ok(()) => drop(self.announced.remove(&one)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        self.read.retain(|path, _| wanted.iter().any(|one| one.of.path == *path));
        outcome
    }

    async fn announce(&self, one: &Announcement) -> Result<String> {
        let Announcement { of, port } = one;
        let protocol = match port.transport {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        };
        let spec = json!({
            "cluster": of.cluster,
            "address": port.at.ip(),
            "Port": {"name": port.name, "port": port.at.port(), "protocol": protocol},
            "node-address": self.node,
        });
        self.web.create(&of.create_endpoint, &json!({"Endpoint": {"spec": spec}})).await
    }

    /// Reads a load balancer if that is due: at once, until it has a tunnel to the node, and from time to time after that.
    async fn refresh(&mut self, path: &str) -> Result<()> {
        let known = self.read.get(path);
        let is_due = |read: &Read| read.facts.is_none() || read.at.elapsed() > REREAD;
        if !known.is_none_or(is_due) {
            return Ok(());
        }
        let answer = self.web.get(path).await?;
        let group = match known {
            Some(read) => read.group,
            None => self.group(&answer).await?,
        };
        let facts = Facts::of(&service(&answer).with_context(|| path.to_owned())?, self.node);
        self.read.insert(path.to_owned(), Read { group, facts, at: Instant::now() });
        Ok(())
    }

    /// Returns the number of the account of a load balancer.
    async fn group(&self, service: &Value) -> Result<u16> {
        let group = self.web.get(link(service, "group")?).await?;
        let account = self.web.get(link(&group, "account")?).await?;
        let id = account["account"]["spec"]["group-id"].as_u64().and_then(|id| u16::try_from(id).ok());
        id.filter(|id| *id > 0).context("the account has no group-id yet")
    }

    /// Tells the customer's end what was read.
    fn tell(&self, wanted: &BTreeSet<Announcement>) {
        let object = |path: &str| (String::new(), path.to_owned());
        let balancers: Vec<(Object, Option<Facts>)> =
            self.read.iter().map(|(path, read)| (object(path), read.facts.clone())).collect();
        let endpoints = wanted.iter().filter_map(|one| {
            let group = self.read.get(&one.of.path)?.group;
            let path = self.announced.get(one)?.clone();
            let at = (one.port.transport, one.port.at);
            Some((object(&path), Endpoint::new(object(&one.of.path), at, group)))
        });
        let endpoints: Vec<_> = endpoints.collect();
        self.known.change(|customer| {
            customer.keep_load_balancers(&balancers.iter().map(|(object, _)| object.clone()).collect());
            balancers.into_iter().for_each(|(object, facts)| customer.set_load_balancer(object, facts));
            customer.keep_endpoints(KIND, &endpoints.iter().map(|(object, _)| object.clone()).collect());
            endpoints.into_iter().for_each(|(object, one)| customer.set_endpoint(KIND, object, Some(one)));
        });
    }
}

/// Returns the load balancer of an answer. Some web services leave out what kind of object it is.
fn service(answer: &Value) -> Result<LoadBalancer> {
    let (mut object, resource) = (answer["service"].clone(), (DEFINITION.resource)());
    object["apiVersion"] = resource.api_version.into();
    object["kind"] = resource.kind.into();
    Ok(LoadBalancer::parse(object)?.0)
}

fn link<'a>(answer: &'a Value, name: &str) -> Result<&'a str> {
    answer["link"][name].as_str().with_context(|| format!("the answer has no link {name}"))
}
