//! What keepers in pods are asked: the agent can't reach the Envoys there. A question goes to a keeper as an instruction, and
//! its answer comes by a call, which only a process of the asked pod can make.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use portreeve_keeper::envoy::statistics::{LONGEST, Prefix};
use portreeve_keeper::proto::instruction::What;
use portreeve_keeper::proto::{Ask, Holding, Instruction, Statistics};
use portreeve_xds::{Name, Peer};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::Shared;
use super::pods::PodKeeper;
use crate::envoy::stats::Answer;

/// Longer than a keeper waits for its Envoy.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Keepers of this protocol and later ones answer.
const ANSWERING: u32 = 4;

/// The questions without an answer so far, by their names.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<HashMap<u64, Question>>);

#[derive(Debug)]
struct Question {
    pod: Name,
    answer: oneshot::Sender<Told>,
}

/// What a keeper answers.
#[derive(Debug)]
pub(super) enum Told {
    /// To an `Ask`.
    Statistics(String),
    /// To `Sockets`.
    Sockets(Holding),
}

/// Takes a question back when whoever asked it is gone.
struct Open {
    shared: Arc<Shared>,
    name: u64,
}

// === impl Questions ===

impl Questions {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Question>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The question that a process of `pod` answers.
    fn take(&self, name: u64, pod: &Name) -> Option<Question> {
        let mut all = self.lock();
        all.get(&name).is_some_and(|question| question.pod == *pod).then(|| all.remove(&name)).flatten()
    }
}

// === impl Open ===

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.questions.lock().remove(&self.name);
    }
}

// === impl Shared ===

impl Shared {
    /// Asks the keeper of each proxy's foremost pod.
    pub(super) fn ask_pods(self: &Arc<Self>, chosen: &[Prefix]) -> Vec<(String, Answer)> {
        let book = self.book();
        let serving = book.entries.iter().filter_map(|(name, entry)| Some((name, entry.serving()?)));
        let asked = serving.filter(|(_, (_, keeper))| keeper.protocol() >= ANSWERING);
        let asked = asked.map(|(proxy, (pod, keeper))| {
            let prefixes = chosen.iter().map(ToString::to_string).collect();
            let told = self.question((pod, keeper), |question| What::Ask(Ask { question, prefixes }));
            let text = told.map(|told| match told {
                Some(Told::Statistics(text)) => Some(text),
                Some(Told::Sockets(_)) | None => None,
            });
            (proxy.clone(), text.boxed())
        });
        asked.collect()
    }

    /// Puts a question to a pod's keeper. Its answer; `None` when it does not come in time.
    pub(super) fn question(
        self: &Arc<Self>,
        (pod, keeper): (&Name, &PodKeeper),
        what: impl FnOnce(u64) -> What,
    ) -> BoxFuture<'static, Option<Told>> {
        let (name, (answer, answered)) = (rand::random(), oneshot::channel());
        self.questions.lock().insert(name, Question { pod: pod.clone(), answer });
        let open = Open { shared: self.clone(), name };
        // A full channel belongs to a keeper that does not listen: it does not answer.
        let asked = keeper.instruct(Instruction { what: Some(what(name)) });
        let answer = async move {
            let answer = if asked { timeout(PATIENCE, answered).await.ok()?.ok() } else { None };
            drop(open);
            answer
        };
        answer.boxed()
    }

    /// Hears which sockets a pod's Envoys hold, if the peer is who was asked.
    pub(super) fn told_held(&self, peer: &Peer, holding: Holding) -> Result<(), Status> {
        let stranger = || Status::permission_denied("nobody asked this process");
        let (pod, _) = self.pods().and_then(|pods| pods.pod_of(peer)).ok_or_else(stranger)?;
        let question = self.questions.take(holding.question, &pod).ok_or_else(stranger)?;
        // Nobody may wait for it any more.
        let _ = question.answer.send(Told::Sockets(holding));
        Ok(())
    }

    /// Hears an answer, if the peer is who was asked.
    pub(super) async fn answered(
        &self,
        peer: &Peer,
        mut pieces: Streaming<Statistics>,
    ) -> Result<(), Status> {
        let stranger = || Status::permission_denied("nobody asked this process");
        let (pod, _) = self.pods().and_then(|pods| pods.pod_of(peer)).ok_or_else(stranger)?;
        let (mut text, mut question) = (Vec::new(), None);
        while let Some(piece) = pieces.message().await? {
            if question.is_none() {
                question = Some(self.questions.take(piece.question, &pod).ok_or_else(stranger)?);
            }
            text.extend(piece.text);
            if text.len() > LONGEST {
                return Err(Status::resource_exhausted(format!("more than {LONGEST} bytes")));
            }
        }
        let text = String::from_utf8(text).map_err(|error| Status::invalid_argument(error.to_string()))?;
        // Nobody may wait for it any more.
        let _ = question.ok_or_else(stranger)?.answer.send(Told::Statistics(text));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pod_that_was_asked_has_the_answer_and_once() {
        let questions = Questions::default();
        let (answer, _answered) = oneshot::channel();
        questions.lock().insert(7, Question { pod: "asked".into(), answer });
        let taken = |name, pod: &str| questions.take(name, &pod.into()).is_some();
        assert!(!taken(7, "other") && !taken(8, "asked"));
        assert!(taken(7, "asked") && !taken(7, "asked"));
    }
}
