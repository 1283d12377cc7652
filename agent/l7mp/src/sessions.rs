//! A proxy's sessions ([`Session`]): which must end ([`over`]), and which listeners lost theirs ([`deaf`]).
//!
//! A proxy of npm's ends when a session is deleted that is being set up or reconnects. Such sessions are left alone and
//! looked at again later.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::actual::Actual;
use crate::names;
use crate::wanted::Wanted;

/// A session as the proxy shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Session {
    /// The name.
    pub(crate) name: String,
    /// `INIT`, `CONNECTED`, `FINALIZING` or `DESTROYED`.
    #[serde(default)]
    status: String,
    /// Its listener.
    #[serde(default)]
    source: Stage,
    /// Its last cluster.
    #[serde(default)]
    destination: Stage,
    /// The clusters on the way to the destination. The proxy shows them as `null`.
    #[serde(default)]
    ingress: Vec<Option<Stage>>,
    /// The clusters on the way back, like `ingress`.
    #[serde(default)]
    egress: Vec<Option<Stage>>,
    /// What happened so far, in this order.
    #[serde(default)]
    events: Vec<Event>,
}

/// One end or one cluster of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Stage {
    /// The name of the listener or cluster; empty while it isn't known.
    #[serde(default)]
    origin: String,
}

/// An event of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Event {
    /// The event's kind.
    event: String,
}

/// Sessions that must end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Over {
    /// Names of those that can be deleted now.
    pub(crate) now: Vec<String>,
    /// Number of those that can't be deleted yet.
    pub(crate) later: usize,
}

// === impl Session ===

impl Session {
    /// Whether the session exists; ended ones may be shown for a while.
    fn lives(&self) -> bool {
        matches!(self.status.as_str(), "INIT" | "CONNECTED")
    }

    /// Whether every part is connected. A reconnecting session is `CONNECTED` too; its events tell.
    fn is_settled(&self) -> bool {
        let telling = |event: &&Event| matches!(event.event.as_str(), "CONNECT" | "DISCONNECT");
        let last = self.events.iter().rfind(telling);
        self.status == "CONNECTED" && last.is_some_and(|event| event.event == "CONNECT")
    }

    /// Whether the session must end: its listener is gone and takes its sessions along, or its listener is there and a
    /// cluster of the driver's on its way is gone.
    fn is_over(&self, actual: &Actual) -> bool {
        if !actual.listeners.contains_key(&self.source.origin) {
            return names::ends_sessions(&self.source.origin);
        }
        let chains = self.ingress.iter().chain(&self.egress).flatten();
        let gone =
            |stage: &Stage| names::is_own(&stage.origin) && !actual.clusters.contains_key(&stage.origin);
        chains.chain([&self.destination]).any(gone)
    }
}

/// Returns the sessions that must end. `fragile` tells that the proxy ends with a session that isn't settled.
pub(crate) fn over(sessions: &[Session], actual: &Actual, fragile: bool) -> Over {
    let over = sessions.iter().filter(|session| session.lives() && session.is_over(actual));
    let (now, later): (Vec<_>, Vec<_>) = over.partition(|session| !fragile || session.is_settled());
    Over { now: now.into_iter().map(|session| session.name.clone()).collect(), later: later.len() }
}

/// Returns the connected listeners that have no session: it ended, or its retries are spent.
pub(crate) fn deaf(sessions: &[Session], wanted: &Wanted, actual: &Actual) -> BTreeSet<String> {
    let living = sessions.iter().filter(|session| session.lives());
    let heard: BTreeSet<&str> = living.map(|session| session.source.origin.as_str()).collect();
    let connected = wanted.listeners.values().flatten().filter(|made| made.connected);
    let present = connected.filter(|made| actual.listeners.contains_key(&made.name));
    present.filter(|made| !heard.contains(made.name.as_str())).map(|made| made.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actual::ListenerSeen;
    use serde_json::{Value, json};

    const GONE: &str = "portreeve/l@0-ends";

    fn mk_session(listener: &str, cluster: &str, status: &str, events: &[&str]) -> Session {
        let events: Vec<Value> = events.iter().map(|event| json!({"event": event, "message": "m"})).collect();
        serde_json::from_value(json!({
            "name": "UDP:x", "metadata": {}, "status": status, "events": events,
            "source": {"origin": listener, "listener": "<INVALID>", "status": "READY"},
            "destination": {"origin": cluster, "endpoint": "<INVALID>", "status": "READY"},
            "ingress": [null], "egress": []
        }))
        .unwrap()
    }

    fn mk_actual(listener: &str, cluster: &str) -> Actual {
        let mut actual = Actual::default();
        actual.listeners.insert(listener.to_owned(), ListenerSeen { list: "l".into(), slot: None });
        actual.clusters.insert(cluster.to_owned(), Default::default());
        actual
    }

    #[test]
    fn only_sessions_of_gone_listeners_that_end_them_and_of_gone_clusters_end() {
        let actual = mk_actual("here", "portreeve/c@1");
        let connected = ["INIT", "CONNECT"];
        let table = [
            (GONE, "theirs", true),
            ("portreeve/l@0", "theirs", false),
            ("theirs", "theirs", false),
            ("here", "portreeve/c@1", false),
            ("here", "portreeve/c@0", true),
            ("here", "theirs", false),
            ("portreeve/l@0", "portreeve/c@0", false),
        ];
        for (listener, cluster, ends) in table {
            let session = mk_session(listener, cluster, "CONNECTED", &connected);
            let found = over(&[session], &actual, true);
            assert_eq!((found.now.len(), found.later), (usize::from(ends), 0), "{listener} {cluster}");
        }
    }

    #[test]
    fn unsettled_session_of_a_fragile_proxy_is_left_for_later() {
        let table: [(&str, &[&str], bool); 5] = [
            ("INIT", &["INIT"], false),
            ("INIT", &["INIT", "LOOKUP SUCCESS"], false),
            ("CONNECTED", &["INIT", "CONNECT"], true),
            ("CONNECTED", &["INIT", "CONNECT", "DISCONNECT"], false),
            ("CONNECTED", &["INIT", "CONNECT", "DISCONNECT", "CONNECT"], true),
        ];
        for (status, events, settled) in table {
            let session = [mk_session(GONE, "c", status, events)];
            let now = usize::from(settled);
            let fragile = over(&session, &Actual::default(), true);
            assert_eq!((fragile.now.len(), fragile.later), (now, 1 - now), "{status} {events:?}");
            assert_eq!(over(&session, &Actual::default(), false).now.len(), 1);
        }
    }

    #[test]
    fn ended_session_that_is_still_shown_is_nothing_to_end() {
        let session = mk_session(GONE, "c", "DESTROYED", &["INIT", "CONNECT"]);
        assert_eq!(over(&[session], &Actual::default(), false), Over::default());
    }

    #[test]
    fn session_without_a_destination_is_read() {
        let pending = json!({"name": "n", "source": {"origin": "l"}, "destination": {"status": "PENDING"},
            "ingress": [], "egress": [], "status": "INIT", "events": []});
        let session: Session = serde_json::from_value(pending).unwrap();
        assert!(session.lives() && !session.is_settled());
    }
}
