//! What keepers in pods are asked: the agent can't reach the Envoys there. A question goes to a keeper as an instruction, and
//! its answer comes by a call, which only a process of the asked pod can make.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use portreeve_keeper::proto::instruction::What;
use portreeve_keeper::proto::{Holding, Instruction};
use portreeve_xds::Name;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::pod_keeper::PodKeeper;

/// Longer than a keeper waits for its Envoy.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The questions without an answer so far, by their names. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Questions(Arc<Mutex<HashMap<u64, Question>>>);

#[derive(Debug)]
pub(super) struct Question {
    pod: Name,
    pub(super) answer: oneshot::Sender<Told>,
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
    questions: Questions,
    name: u64,
}

// === impl Questions ===

impl Questions {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Question>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The question that a process of `pod` answers.
    pub(super) fn take(&self, name: u64, pod: &Name) -> Option<Question> {
        let mut all = self.lock();
        all.get(&name).is_some_and(|question| question.pod == *pod).then(|| all.remove(&name)).flatten()
    }

    /// Puts a question to a pod's keeper. Its answer; `None` when it does not come in time.
    pub(super) fn put(
        &self,
        pod: &Name,
        keeper: &PodKeeper,
        what: impl FnOnce(u64) -> What,
    ) -> BoxFuture<'static, Option<Told>> {
        let (name, (answer, answered)) = (rand::random(), oneshot::channel());
        self.lock().insert(name, Question { pod: pod.clone(), answer });
        let open = Open { questions: self.clone(), name };
        // A full channel belongs to a keeper that does not listen: it does not answer.
        let asked = keeper.instruct(Instruction { what: Some(what(name)) });
        let answer = async move {
            let answer = if asked { timeout(PATIENCE, answered).await.ok()?.ok() } else { None };
            drop(open);
            answer
        };
        answer.boxed()
    }
}

// === impl Open ===

impl Drop for Open {
    fn drop(&mut self) {
        self.questions.lock().remove(&self.name);
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
