//! Sockets whose holders this process can't read, because a gateway's Envoy has another user. [`judge`] evaluates the
//! answers of the gateways' keepers.

use std::collections::{BTreeSet, HashSet};
use std::fs;

use portreeve_agent_core::world::Tenant;

use super::holder::title;
use super::whose::Whose;
use crate::identity::cgroup::{Membership, membership};
use crate::supervisor::Supervisor;

use portreeve_xds::Name;

/// Maximum number of sockets in one question. Later checks ask about the others.
const LIMIT: usize = 10_000;
/// Maximum number of processes named in a message.
const NAMED: usize = 3;

/// A round of questions about sockets, with the combined answers of all keepers.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The sockets of the round.
    asked: HashSet<u32>,
    /// The sockets that keepers were asked about: those with the user of a gateway's Envoy.
    put: HashSet<u32>,
    /// The sockets that gateways' Envoys hold; `None` if a keeper hasn't answered.
    held: Option<HashSet<u32>>,
}

/// The processes of a user that may hold a socket of the host which no gateway's Envoy holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Suspects {
    /// One of them may be a proxy without a keeper.
    doubtful: bool,
    pids: Vec<u32>,
}

// === impl Round ===

impl Round {
    /// Asks the keepers of `gateways` about these sockets, each with its user.
    pub(super) async fn ask(supervisor: &Supervisor, gateways: &BTreeSet<Name>, open: &[(u32, u32)]) -> Self {
        let open = &open[..open.len().min(LIMIT)];
        if open.is_empty() {
            return Self::default();
        }
        let users = supervisor.users_in_pods();
        let put: Vec<u32> =
            open.iter().filter(|(_, user)| users.contains(user)).map(|(inode, _)| *inode).collect();
        let held = if put.is_empty() { None } else { supervisor.held_in_pods(gateways, &put).await };
        let asked = open.iter().map(|(inode, _)| *inode).collect();
        Self { asked, put: put.into_iter().collect(), held }
    }

    /// Returns whether the round was about this socket.
    pub(super) fn is_about(&self, inode: u32) -> bool {
        self.asked.contains(&inode)
    }

    /// Returns whether a gateway's Envoy holds the socket; `None` if that isn't known.
    pub(super) fn held(&self, inode: u32) -> Option<bool> {
        let held = self.held.as_ref().filter(|_| self.put.contains(&inode))?;
        Some(held.contains(&inode))
    }
}

/// Decides who owns a socket of `user`. `held` tells whether a gateway's Envoy holds it, `again` whether it belonged to
/// a stranger at the last check too.
pub(super) fn judge(
    held: Option<bool>,
    user: u32,
    suspects: impl FnOnce() -> Suspects,
    again: bool,
) -> Whose {
    match held {
        None => Whose::Unread { guess: false },
        Some(true) => Whose::Ours,
        Some(false) => match suspects() {
            Suspects { doubtful: true, .. } => Whose::Unread { guess: false },
            Suspects { pids, .. } => Whose::Stranger { who: who(user, &pids), certain: again },
        },
    }
}

/// Describes a process of `user` for people.
fn who(user: u32, pids: &[u32]) -> String {
    let titles: Vec<String> = pids.iter().take(NAMED + 1).map(|pid| title(*pid)).collect();
    match titles.len() {
        1 => format!("{} of user {user}", titles[0]),
        2..=NAMED => format!("a process of user {user} ({})", titles.join(" or ")),
        _ => format!("a process of user {user}"),
    }
}

/// Returns the processes of `user` that may hold a socket of the host which no gateway's Envoy holds.
pub(super) fn suspects(user: u32, tenant: impl Fn(&str) -> Tenant) -> Suspects {
    let mut found = Suspects::default();
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        if user_of(&read("status")) != Some(user) {
            continue;
        }
        match membership(&read("cgroup")) {
            Membership::Outside => found.pids.push(pid),
            Membership::Torn(..) => found.doubtful = true,
            Membership::Pod(uid) => match tenant(&uid) {
                Tenant::Other => found.pids.push(pid),
                Tenant::Proxy | Tenant::Unknown => found.doubtful = true,
                // A gateway's keeper has answered for its Envoys.
                Tenant::Gateway | Tenant::Apart => {}
            },
        }
    }
    found.pids.sort_unstable();
    found
}

/// Returns the effective user from the text of `/proc/<pid>/status`.
fn user_of(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unclaimed_socket_is_a_strangers_only_if_all_answered_and_no_other_proxy_may_have_it() {
        let nobody = Suspects::default();
        let sidecar = Suspects { doubtful: true, pids: vec![u32::MAX] };
        let stranger = |certain| Whose::Stranger { who: "a process of user 101".into(), certain };
        for (held, suspects, again, expected) in [
            (None, &nobody, false, Whose::Unread { guess: false }), // a keeper is silent, old or missing
            (None, &nobody, true, Whose::Unread { guess: false }),
            (Some(true), &nobody, false, Whose::Ours),
            (Some(true), &nobody, true, Whose::Ours),
            (Some(true), &sidecar, false, Whose::Ours),
            (Some(false), &sidecar, true, Whose::Unread { guess: false }),
            (Some(false), &nobody, false, stranger(false)),
            (Some(false), &nobody, true, stranger(true)),
        ] {
            let judged = judge(held, 101, || suspects.clone(), again);
            assert_eq!(judged, expected, "{held:?} {suspects:?} {again}");
        }
    }

    #[test]
    fn socket_of_another_user_than_the_gateways_is_known_to_nobody() {
        let set = |inodes: &[u32]| inodes.iter().copied().collect::<HashSet<u32>>();
        let (asked, put) = (set(&[1, 2, 3]), set(&[1, 2]));
        let mut round = Round { asked, put, held: Some(set(&[1])) };
        assert_eq!([1, 2, 3, 4].map(|inode| round.held(inode)), [Some(true), Some(false), None, None]);
        assert_eq!([3, 4].map(|inode| round.is_about(inode)), [true, false]);
        round.held = None;
        assert_eq!(round.held(2), None);
    }

    #[test]
    fn single_process_of_the_user_is_named_and_many_are_not() {
        assert_eq!(who(101, &[u32::MAX]), "process 4294967295 of user 101");
        let two = "a process of user 101 (process 4294967294 or process 4294967295)";
        assert_eq!(who(101, &[u32::MAX - 1, u32::MAX]), two);
        assert_eq!(who(101, &[u32::MAX; NAMED + 1]), "a process of user 101");
    }

    #[test]
    fn processes_are_suspects_by_their_effective_user() {
        assert_eq!(user_of("Name:\tenvoy\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n"), Some(2));
        assert_eq!(user_of("Uid:\t1"), None);
        let own = nix::unistd::geteuid().as_raw();
        let found = suspects(own, |_| Tenant::Other);
        assert!(found.pids.contains(&std::process::id()) && !found.doubtful, "{found:?}");
    }
}
