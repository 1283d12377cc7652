//! Follows one source: its pods are listed and watched, and after any failure listed anew. Entry point: [`follow`].

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use portreeve_api::pod::Pod;
use portreeve_api::pod_document::PodDocument;
use portreeve_runtime::client::limited;
use portreeve_runtime::watch::{Pauses, run_until_failure};
use portreeve_xds::Name;

use super::intake::{Intake, Pods, SeenPod};
use super::kubeconfig::Readable;
use crate::feed::Feed;
use crate::namespaces::Namespaces;
use crate::pod_reader::PodReader;
use crate::watches::api;

/// The longest pause before a source is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest reason for a failure, in characters. A foreign API server chooses the text.
const LONGEST_REASON: usize = 300;

/// What all sources have in common.
#[derive(Clone)]
pub struct Followed {
    /// The state to change.
    pub feed: Arc<Feed>,
    /// Reduces pods, and decides which of them may join which cluster.
    pub reader: PodReader,
    /// The namespaces to watch.
    pub namespaces: Namespaces,
}

// === impl Followed ===

impl Followed {
    /// Follows a source. Never returns.
    pub async fn follow(self, source: Name, kubeconfig: Readable) -> std::convert::Infallible {
        let mut pauses = Pauses::up_to(LONGEST_PAUSE);
        loop {
            let intake = Intake::new(&self.feed, &source, self.namespaces.watched().len());
            let intake = Arc::new(Mutex::new(intake));
            let why = self.attempt(&kubeconfig, &intake).await;
            tracing::warn!(source = &*source, error = why, "the source can't be read, trying again");
            self.feed.load(|index, now| index.source_failed(&source, &why, now));
            if intake.lock().unwrap_or_else(PoisonError::into_inner).is_complete() {
                pauses.answered();
            }
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    /// Watches the pods until the first failure, and returns the reason.
    async fn attempt(&self, kubeconfig: &Readable, intake: &Arc<Mutex<Intake>>) -> String {
        let config = match kubeconfig.config().await {
            Ok(config) => config,
            Err(error) => return error,
        };
        let client: Client = match limited(&config) {
            Ok(client) => client,
            Err(error) => return cut(format!("{error:#}")),
        };
        let watch = |namespace: Option<Name>| {
            let pods = api::<PodDocument>(&client, namespace.as_ref());
            let verbs = Pods(intake.clone());
            run_until_failure(pods, watcher::Config::default(), |pod| self.strip(pod), verbs).boxed()
        };
        let (error, ..) = select_all(self.namespaces.watched().into_iter().map(watch)).await;
        reason(&error)
    }

    /// Reduces a pod to what makes it a member of a cluster.
    fn strip(&self, pod: PodDocument) -> Option<SeenPod> {
        let uid = Name::from(pod.uid()?);
        let member = self.reader.read(pod).filter(|pod| self.reader.joins(pod));
        let member = member.map(|pod| Pod { labels: Default::default(), ..pod });
        Some(SeenPod { uid, member })
    }
}

/// Returns an error's text with its causes, cut to a length that fits into a condition.
fn reason(error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    if let Some(status) = status {
        return cut(format!("its API server answers {}: {}", status.code, status.message));
    }
    let (mut text, mut cause) = (String::new(), Some(error as &dyn Error));
    while let Some(one) = cause {
        let part = one.to_string();
        if !text.contains(&part) {
            text = if text.is_empty() { part } else { format!("{text}: {part}") };
        }
        cause = one.source();
    }
    cut(text)
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST_REASON) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
