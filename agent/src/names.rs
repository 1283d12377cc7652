//! Host names of endpoints, resolved by the agent for all its proxies.
//!
//! A name that does not exist empties its endpoints; a server that fails or is silent leaves the last addresses in
//! force. Answers are asked for again when their time to live is over. The library (hickory) follows CNAMEs,
//! /etc/hosts and /etc/resolv.conf; the search list is ours: it belongs to the resource, not to the agent's pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hickory_resolver::TokioResolver;
use tokio::task::JoinSet;

use crate::local::Local;
use crate::world::Host;

/// Bounds of the time between two look-ups of a name.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How soon a look-up that failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// How long one look-up may take, over all of its search list.
const PATIENCE: Duration = Duration::from_secs(5);

/// The cluster's DNS domain when nothing else is said.
pub const DEFAULT_DOMAIN: &str = "cluster.local";

/// What a look-up said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Addresses, good until then.
    Found(Vec<IpAddr>, Instant),
    /// The name does not exist in any form.
    Absent,
    /// Nobody could say.
    Failed(String),
}

/// Keeps all wanted names resolved, for ever.
///
/// # Errors
/// The system's resolver configuration can't be read.
pub async fn run(local: Arc<Local>, domain: String) -> anyhow::Result<()> {
    let builder = TokioResolver::builder_tokio().context("/etc/resolv.conf")?;
    let resolver = Arc::new(builder.build().context("the resolver can't be built")?);
    let mut changes = local.host_changes();
    let mut due: BTreeMap<Host, Instant> = BTreeMap::new();
    let mut running: JoinSet<(Host, Answer)> = JoinSet::new();
    loop {
        let wanted = local.read(|w| w.wanted_hosts());
        due.retain(|host, _| wanted.contains(host));
        let now = Instant::now();
        for host in wanted {
            let next = due.entry(host.clone()).or_insert(now);
            if *next <= now {
                // Not again before this one has answered.
                *next = now + PATIENCE + EVERY.1;
                let (resolver, domain) = (resolver.clone(), domain.clone());
                running.spawn(async move {
                    let answer = look_up(&resolver, &host, &domain).await;
                    (host, answer)
                });
            }
        }
        let soonest = due.values().min().copied().unwrap_or(now + EVERY.1);
        tokio::select! {
            Ok(()) = changes.changed() => {}
            Some(Ok((host, answer))) = running.join_next() => settle(&local, &mut due, host, answer),
            () = tokio::time::sleep_until(soonest.into()) => {}
        }
    }
}

fn settle(local: &Local, due: &mut BTreeMap<Host, Instant>, host: Host, answer: Answer) {
    let now = Instant::now();
    let next = match answer {
        Answer::Found(addresses, until) => {
            local.set_host(&host, addresses);
            until.clamp(now + EVERY.0, now + EVERY.1)
        }
        Answer::Absent => {
            tracing::warn!(namespace = host.0, host = host.1, "no such host name: its endpoints are empty");
            local.set_host(&host, Vec::new());
            now + AFTER_FAILURE
        }
        Answer::Failed(error) => {
            tracing::warn!(namespace = host.0, host = host.1, error, "can't resolve, the last addresses stay");
            // The first time nothing is known: better without this endpoint than without the whole cluster.
            if local.read(|w| w.addresses_of(&host)).is_none() {
                local.set_host(&host, Vec::new());
            }
            now + AFTER_FAILURE
        }
    };
    if let Some(at) = due.get_mut(&host) {
        *at = next;
    }
}

async fn look_up(resolver: &TokioResolver, (namespace, host): &Host, domain: &str) -> Answer {
    let all = async {
        let mut failure = None;
        for name in search_list(namespace, host, domain) {
            match resolver.lookup_ip(name).await {
                Ok(found) => return Answer::Found(found.iter().collect(), found.valid_until()),
                Err(error) if error.is_nx_domain() || error.is_no_records_found() => {}
                Err(error) => failure = Some(error.to_string()),
            }
        }
        failure.map_or(Answer::Absent, Answer::Failed)
    };
    let silent = || Answer::Failed(format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| silent())
}

/// The forms of a name, in the order in which they are tried. A trailing dot says that it is complete.
fn search_list(namespace: &str, host: &str, domain: &str) -> Vec<String> {
    if host.ends_with('.') {
        return vec![host.to_string()];
    }
    let suffixes = [format!("{namespace}.svc.{domain}."), format!("svc.{domain}."), format!("{domain}.")];
    let mut all: Vec<String> = suffixes.iter().map(|suffix| format!("{host}.{suffix}")).collect();
    // Names with many dots are nearly always complete: ask for them as they are first.
    let at = if host.split('.').count() > 4 { 0 } else { all.len() };
    all.insert(at, format!("{host}."));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_list_is_that_of_the_resources_namespace() {
        assert_eq!(
            search_list("calls", "worker", "cluster.local"),
            ["worker.calls.svc.cluster.local.", "worker.svc.cluster.local.", "worker.cluster.local.", "worker."]
        );
        assert_eq!(search_list("calls", "worker.example.", "cluster.local"), ["worker.example."]);
        assert_eq!(search_list("calls", "a.b.svc.cluster.local", "cluster.local")[0], "a.b.svc.cluster.local.");
    }
}
