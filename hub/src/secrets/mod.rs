//! The hub's watches of Secrets: one for each Secret that an object asks for, and of that name only. Entry point: [`run`].

mod object;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use futures::future::{AbortHandle, Aborted, BoxFuture, FutureExt, abortable};
use futures::stream::FuturesUnordered;
use kube::runtime::watcher;
use kube::{Api, Client};
use portreeve_runtime::watch::{self, Verbs, is_forbidden};
use portreeve_xds::Name;

use crate::feed::Feed;
use crate::lookup::WantedSecrets;

pub use object::SecretObject;

/// The highest number of watched Secrets. Each watch takes a connection to the API server.
pub const MOST: usize = 1000;

/// The running watches. All are polled by one task, so an ended watch reports nothing any more.
struct Watches {
    client: Client,
    feed: Arc<Feed>,
    started: BTreeMap<(Name, Name), Started>,
    running: FuturesUnordered<BoxFuture<'static, Result<anyhow::Result<()>, Aborted>>>,
    /// The requests for Secrets that are not watched because there are too many.
    left_out: BTreeMap<(Name, Name), u64>,
}

/// A watch that was started for a request, see [`WantedSecret::request`](crate::lookup::WantedSecret::request).
struct Started {
    request: u64,
    handle: AbortHandle,
}

/// One Secret.
struct Wanted {
    feed: Arc<Feed>,
    at: (Name, Name),
}

/// Watches the Secrets that objects ask for. The hub's readiness doesn't depend on them: objects that ask for a Secret which
/// could not be read yet keep their last version.
///
/// # Errors
/// Returns the error of a watch that ended although its Secret is wanted, which would be a bug.
pub async fn run(client: Client, feed: Arc<Feed>) -> anyhow::Result<()> {
    let mut wanted = feed.wanted_secrets();
    let mut watches = Watches {
        client,
        feed,
        started: BTreeMap::new(),
        running: FuturesUnordered::new(),
        left_out: BTreeMap::new(),
    };
    loop {
        let now = wanted.borrow_and_update().clone();
        watches.follow(&now);
        tokio::select! {
            changed = wanted.changed() => changed.context("the feed is gone")?,
            ended = watches.ended() => ended?,
        }
    }
}

// === impl Watches ===

impl Watches {
    /// Starts the watches that are missing, and ends those of Secrets that no object asks for. A watch is started again if
    /// it was requested again, because what it reported before was not kept.
    fn follow(&mut self, wanted: &WantedSecrets) {
        self.started.retain(|at, started| {
            let kept = wanted.get(at).is_some_and(|wanted| wanted.request == started.request);
            if !kept {
                started.handle.abort();
            }
            kept
        });
        self.left_out.retain(|at, _| wanted.contains_key(at));
        for (at, secret) in wanted {
            if self.started.contains_key(at) {
                continue;
            }
            if self.started.len() < MOST {
                self.start(at, secret.request);
            } else if self.left_out.insert(at.clone(), secret.request) != Some(secret.request) {
                let why = format!(
                    "Secret {}/{} is not read: objects ask for more than {MOST} Secrets, the most that the hub watches",
                    at.0, at.1
                );
                tracing::warn!(
                    namespace = &*at.0,
                    name = &*at.1,
                    most = MOST,
                    "too many Secrets are asked for"
                );
                self.feed.load(|index, _| index.set_secret_unreadable(at.clone(), why));
            }
        }
    }

    fn start(&mut self, at: &(Name, Name), request: u64) {
        self.left_out.remove(at);
        let api = Api::<SecretObject>::namespaced(self.client.clone(), &at.0);
        let config = watcher::Config::default().fields(&format!("metadata.name={}", at.1));
        let verbs = Wanted { feed: self.feed.clone(), at: at.clone() };
        let (watch, handle) = abortable(watch::run(api, config, None, Some, verbs));
        self.running.push(watch.boxed());
        self.started.insert(at.clone(), Started { request, handle });
    }

    /// Polls the watches. Returns only if one ends that was not aborted.
    async fn ended(&mut self) -> anyhow::Result<()> {
        loop {
            match self.running.next().await {
                Some(Ok(outcome)) => return outcome,
                Some(Err(Aborted)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

// === impl Wanted ===

impl Verbs<SecretObject> for Wanted {
    fn apply(&mut self, object: SecretObject) {
        self.feed.load(|index, _| index.set_secret(self.at.clone(), Some(object.into_facts())));
    }

    fn delete(&mut self, _: SecretObject) {
        self.feed.load(|index, _| index.set_secret(self.at.clone(), None));
    }

    fn reset(&mut self, objects: Vec<SecretObject>) {
        let found = objects.into_iter().next().map(SecretObject::into_facts);
        self.feed.load(|index, _| index.set_secret(self.at.clone(), found));
    }

    fn failed(&mut self, error: &watcher::Error) {
        // Any other failure says nothing about the Secret.
        if is_forbidden(error) {
            let why = forbidden(&self.at);
            self.feed.load(|index, _| index.set_secret_unreadable(self.at.clone(), why));
        }
    }
}

/// Returns the text for the condition of an object whose Secret the hub may not read.
fn forbidden((namespace, name): &(Name, Name)) -> String {
    format!(
        "the hub may not read Secret {namespace}/{name}: grant the hub's ServiceAccount list and watch on it, for example by a \
         RoleBinding in namespace {namespace} to the ClusterRole portreeve-hub-secrets"
    )
}
