//! Random histories of one stream. Once all responses are answered, nothing is waited for and the client has no removed
//! names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use portreeve_xds::EnvoyType::{self, Cluster, Endpoint, Listener};
use portreeve_xds::session::REMOVAL_GRACE;
use portreeve_xds::{Request, Response, Variant, Version};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::peer::{Peer, about, ack, eds_cluster, res, show};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A client that behaves as Envoy does: it subscribes to the assignments of the clusters that it accepted.
struct Client {
    peer: Peer,
    variant: Variant,
    rng: SmallRng,
    unanswered: VecDeque<Response<EnvoyType>>,
    has: BTreeMap<(EnvoyType, String), Version>,
    /// Subscribed assignments.
    follows: BTreeSet<String>,
    /// State of the world: the last nonce of each type.
    nonces: BTreeMap<EnvoyType, String>,
}

// === impl Client ===

impl Client {
    fn new(variant: Variant, seed: u64) -> Self {
        let mut client = Self {
            peer: Peer::new(variant),
            variant,
            rng: SmallRng::seed_from_u64(seed),
            unanswered: VecDeque::new(),
            has: BTreeMap::new(),
            follows: BTreeSet::new(),
            nonces: BTreeMap::new(),
        };
        client.says(about(Cluster));
        client.says(about(Listener));
        client
    }

    fn says(&mut self, req: Request<EnvoyType>) {
        self.peer.session.request(req, &self.peer.snap, self.peer.now);
    }

    /// One random event of the server, the client or the clock.
    fn step(&mut self) {
        let name = NAMES[self.rng.random_range(0..NAMES.len())];
        let text = self.rng.random_range(0..1000).to_string();
        match self.rng.random_range(0..12) {
            0 => self.peer.change(vec![eds_cluster(name, &text), res(Endpoint, name, &text)], &[]),
            1 => self.peer.change(vec![res(Endpoint, name, &text)], &[]),
            2 => self.peer.change(vec![res(Listener, name, &text)], &[]),
            3 => self.peer.change(vec![eds_cluster(name, &text), res(Listener, name, &text)], &[]),
            4 => self.peer.change(vec![], &[(Cluster, name), (Endpoint, name)]),
            5 => self.peer.change(vec![res(Listener, name, &text)], &[(Cluster, name)]),
            6 => self.peer.change(vec![], &[(Listener, name)]),
            7 => {
                let millis = self.rng.random_range(0..2 * REMOVAL_GRACE.as_millis() as u64);
                self.peer.pass(std::time::Duration::from_millis(millis));
            }
            8 => self.pull(),
            9 => self.refuse(),
            _ => {
                self.pull();
                self.accept();
            }
        }
    }

    fn pull(&mut self) {
        let new = self.peer.pull();
        self.unanswered.extend(new);
    }

    /// Accepts the oldest response.
    fn accept(&mut self) {
        let Some(response) = self.unanswered.pop_front() else { return };
        self.apply(&response, None);
        let answer = self.answer(&response);
        self.says(answer);
        self.follow();
    }

    /// Rejects one resource of the oldest response and accepts the others, as Envoy does.
    fn refuse(&mut self) {
        let refused = self.unanswered.front().and_then(|one| one.resources.first());
        let Some(name) = refused.map(|one| one.name().to_string()) else { return };
        let Some(response) = self.unanswered.pop_front() else { return };
        self.apply(&response, Some(&name));
        let text = format!("Error adding/updating listener(s) {name}: no");
        let answer = self.answer(&response);
        self.says(Request { error_detail: Some(text), ..answer });
        self.follow();
    }

    fn answer(&self, response: &Response<EnvoyType>) -> Request<EnvoyType> {
        let version_info = response.version.to_string();
        match (self.variant, response.ty) {
            (Variant::Sotw, Some(Endpoint)) => {
                let names = self.follows.iter().cloned().collect();
                Request { names, version_info, ..ack(response) }
            }
            (Variant::Sotw, _) => Request { version_info, ..ack(response) },
            (Variant::Delta, _) => ack(response),
        }
    }

    fn apply(&mut self, response: &Response<EnvoyType>, refused: Option<&str>) {
        let Some(ty) = response.ty else { panic!("a type that nobody asked for") };
        self.nonces.insert(ty, response.nonce.clone());
        if self.variant == Variant::Sotw && ty != Endpoint {
            let sent: BTreeSet<&str> = response.resources.iter().map(|one| &**one.name()).collect();
            self.has.retain(|(of, name), _| *of != ty || sent.contains(name.as_str()));
        }
        for one in response.resources.iter().filter(|one| refused != Some(&**one.name())) {
            self.has.insert((ty, one.name().to_string()), one.version());
        }
        for name in &response.removed {
            self.has.remove(&(ty, name.to_string()));
        }
    }

    /// Subscribes to exactly the assignments of the present clusters.
    fn follow(&mut self) {
        let clusters = self.has.keys().filter(|(ty, _)| *ty == Cluster).map(|(_, name)| name.clone());
        let wanted: BTreeSet<String> = clusters.collect();
        if wanted == self.follows {
            return;
        }
        let subscribe = wanted.difference(&self.follows).cloned().collect();
        let unsubscribe = self.follows.difference(&wanted).cloned().collect();
        let req = match self.variant {
            Variant::Delta => Request { subscribe, unsubscribe, ..about(Endpoint) },
            Variant::Sotw => {
                let nonce = self.nonces.get(&Endpoint).cloned().unwrap_or_default();
                Request { names: wanted.iter().cloned().collect(), nonce, ..about(Endpoint) }
            }
        };
        self.follows = wanted;
        self.has.retain(|(ty, name), _| *ty != Endpoint || self.follows.contains(name));
        self.says(req);
    }

    /// Accepts responses until there are no more. No time passes.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.pull();
            if self.unanswered.is_empty() {
                return;
            }
            self.accept();
        }
        panic!("the session never settles");
    }
}

fn random_histories(variant: Variant, check: impl Fn(&mut Client, u64)) {
    for seed in 0..300 {
        let mut client = Client::new(variant, seed);
        for _ in 0..60 {
            client.step();
        }
        client.settle();
        check(&mut client, seed);
    }
}

/// Checks that a changed listener is sent without a wait.
fn nothing_is_waited_for(client: &mut Client, seed: u64) {
    assert_eq!(client.peer.session.deadline(), None, "seed {seed}");
    client.peer.change(vec![res(Listener, "last", "1")], &[]);
    let heard: Vec<String> = client.peer.pull().iter().map(show).collect();
    let sent = heard.iter().any(|text| text.contains("Listener") && text.contains("+last"));
    assert!(sent, "seed {seed}: {heard:?}");
}

/// Checks that the client has no cluster or listener that the server does not have.
fn client_has_no_removed_names(client: &mut Client, seed: u64) {
    for ty in [Cluster, Listener] {
        let there: BTreeSet<String> = client.peer.snap.iter(ty).map(|(name, _)| name.to_string()).collect();
        let has = client.has.keys().filter(|(of, _)| *of == ty).map(|(_, name)| name.clone());
        let extra: Vec<String> = has.filter(|name| !there.contains(name)).collect();
        assert_eq!(extra, Vec::<String>::new(), "{ty:?}, seed {seed}");
    }
}

#[test]
fn nothing_is_waited_for_once_everything_is_answered() {
    random_histories(Variant::Delta, nothing_is_waited_for);
}

#[test]
fn nothing_is_waited_for_once_everything_is_answered_in_state_of_the_world() {
    random_histories(Variant::Sotw, nothing_is_waited_for);
}

#[test]
fn client_keeps_no_removed_names() {
    random_histories(Variant::Delta, client_has_no_removed_names);
    random_histories(Variant::Sotw, client_has_no_removed_names);
}
