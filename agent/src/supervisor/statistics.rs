//! What Envoys count: those under this agent's keepers are asked by the agent, those in pods by their keepers. Entry point:
//! [`Supervisor::statistics`].

use futures::FutureExt as _;
use portreeve_agent_core::status::supervised::Status;
use portreeve_keeper::Phase;
use portreeve_keeper::envoy::statistics::{self, LONGEST, Prefix};
use portreeve_keeper::proto::instruction::What;
use portreeve_keeper::proto::{Ask, Statistics};
use portreeve_xds::Peer;
use tonic::Streaming;

use super::Supervisor;
use super::inner::Inner;
use super::questions::Told;
use crate::envoy::stats::Answer;

/// Keepers of this protocol and later ones answer.
const ANSWERING: u32 = 4;

// === impl Supervisor ===

impl Supervisor {
    /// What the Envoys that run count, of the statistics whose names begin so: of those under this agent's own keepers, or of
    /// those in pods, which their keepers ask. `chosen` names at least one.
    pub fn statistics(&self, chosen: &[Prefix]) -> Vec<(String, Answer)> {
        if self.inner.pods.get().is_some() {
            return self.inner.ask_pods(chosen);
        }
        let runs = |status: &Status| status.state.as_ref().is_some_and(|state| state.phase == Phase::Running);
        let running = self.status().into_iter().filter(|(_, status)| runs(status));
        let asked = running.map(|(name, _)| {
            let (socket, chosen) = (self.inner.dir(&name).admin(), chosen.to_vec());
            let answer = async move {
                let told = statistics::text(&socket, &chosen).await;
                told.inspect_err(|error| tracing::debug!(socket = %socket.display(), %error, "no statistics"))
                    .ok()
            };
            (name, answer.boxed())
        });
        asked.collect()
    }
}

// === impl Inner ===

impl Inner {
    /// Asks the keeper of each proxy's foremost pod.
    fn ask_pods(&self, chosen: &[Prefix]) -> Vec<(String, Answer)> {
        let roster = self.roster();
        let serving = roster.entries.iter().filter_map(|(name, entry)| Some((name, entry.serving()?)));
        let asked = serving.filter(|(_, (_, keeper))| keeper.protocol() >= ANSWERING);
        let asked = asked.map(|(proxy, (pod, keeper))| {
            let prefixes = chosen.iter().map(ToString::to_string).collect();
            let told = self.questions.put(pod, keeper, |question| What::Ask(Ask { question, prefixes }));
            let text = told.map(|told| match told {
                Some(Told::Statistics(text)) => Some(text),
                Some(Told::Sockets(_)) | None => None,
            });
            (proxy.clone(), text.boxed())
        });
        asked.collect()
    }

    /// Hears an answer, if the peer is who was asked.
    pub(super) async fn answered(
        &self,
        peer: &Peer,
        mut pieces: Streaming<Statistics>,
    ) -> Result<(), tonic::Status> {
        let stranger = || tonic::Status::permission_denied("nobody asked this process");
        let (pod, _) = self.pods().and_then(|pods| pods.pod_of(peer)).ok_or_else(stranger)?;
        let (mut text, mut question) = (Vec::new(), None);
        while let Some(piece) = pieces.message().await? {
            if question.is_none() {
                question = Some(self.questions.take(piece.question, &pod).ok_or_else(stranger)?);
            }
            text.extend(piece.text);
            if text.len() > LONGEST {
                return Err(tonic::Status::resource_exhausted(format!("more than {LONGEST} bytes")));
            }
        }
        let text =
            String::from_utf8(text).map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
        // Nobody may wait for it any more.
        let _ = question.ok_or_else(stranger)?.answer.send(Told::Statistics(text));
        Ok(())
    }
}
