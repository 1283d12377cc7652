//! Which sockets the Envoys in pods hold: only their keepers can read that. Entry point: [`Supervisor::held_in_pods`].

use std::collections::{BTreeSet, HashSet};

use futures::future::{BoxFuture, join_all};
use portreeve_keeper::proto::instruction::What;
use portreeve_keeper::proto::{Holding, Sockets};
use portreeve_xds::{Name, Peer};
use tonic::Status;

use super::Supervisor;
use super::inner::Inner;
use super::pod_keeper::PodKeeper;
use super::questions::Told;
use super::roster::Roster;

/// Keepers of this protocol and later ones tell which sockets their Envoys hold.
const TELLING: u32 = 5;

// === impl Supervisor ===

impl Supervisor {
    /// Whether NodeProxies run in pods.
    pub(crate) fn are_in_pods(&self) -> bool {
        self.inner.pods.get().is_some()
    }

    /// The users that the attached keepers in pods run as, and so their Envoys.
    pub(crate) fn users_in_pods(&self) -> BTreeSet<u32> {
        self.inner.roster().in_pods().filter_map(|(_, keeper)| keeper.user()).collect()
    }

    /// Those of `inodes` that Envoys in pods hold, as all their keepers say. `None` unless each of `pods` has an attached
    /// keeper, and each attached keeper has answered that it knows.
    pub(crate) async fn held_in_pods(&self, pods: &BTreeSet<Name>, inodes: &[u32]) -> Option<HashSet<u32>> {
        let asked = self.inner.ask_held(pods, inodes)?;
        let told = join_all(asked).await;
        let all = told.into_iter().map(|told| match told {
            Some(Told::Sockets(Holding { inodes, incomplete: false, .. })) => Some(inodes),
            Some(Told::Sockets(_) | Told::Statistics(_)) | None => None,
        });
        Some(all.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

// === impl Inner ===

impl Inner {
    /// Asks all keepers in pods; `None` when one is missing or can't be asked.
    fn ask_held(
        &self,
        pods: &BTreeSet<Name>,
        inodes: &[u32],
    ) -> Option<Vec<BoxFuture<'static, Option<Told>>>> {
        let roster = self.roster();
        if !roster.can_tell_held(pods) {
            return None;
        }
        let ask = |(pod, keeper)| {
            let what = |question| What::Sockets(Sockets { question, inodes: inodes.to_vec() });
            self.questions.put(pod, keeper, what)
        };
        Some(roster.in_pods().map(ask).collect())
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
}

// === impl Roster ===

impl Roster {
    fn in_pods(&self) -> impl Iterator<Item = (&Name, &PodKeeper)> {
        self.entries.values().flat_map(|entry| &entry.pods)
    }

    /// Whether each of these pods has a keeper, and every keeper can be asked.
    fn can_tell_held(&self, pods: &BTreeSet<Name>) -> bool {
        let attached: BTreeSet<&Name> = self.in_pods().map(|(pod, _)| pod).collect();
        pods.iter().all(|pod| attached.contains(pod))
            && self.in_pods().all(|(_, keeper)| keeper.protocol() >= TELLING && keeper.user().is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use portreeve_keeper::State;
    use portreeve_xds::Name;
    use tokio::sync::mpsc::channel;

    use super::{Roster, TELLING};

    #[test]
    fn keepers_can_tell_only_if_none_is_missing_old_or_of_no_known_user() {
        for (protocol, user, pods, expected) in [
            (TELLING, Some(101), &["a"][..], true),
            (TELLING, Some(101), &[], true), // a pod that is gone, and its keeper is not
            (TELLING, Some(101), &["a", "b"], false),
            (TELLING - 1, Some(101), &["a"], false),
            (TELLING, None, &["a"], false),
        ] {
            let mut roster = Roster::default();
            let state = State { protocol, ..State::untold("gateway", 1, 1) };
            roster.attach_pod("a".into(), state, channel(1).0, user);
            let pods: BTreeSet<Name> = pods.iter().map(|pod| Name::from(*pod)).collect();
            assert_eq!(roster.can_tell_held(&pods), expected, "{protocol} {user:?} {pods:?}");
        }
    }
}
