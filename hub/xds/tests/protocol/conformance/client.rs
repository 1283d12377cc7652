//! The suite's client: it acknowledges every response at once, and counts requests and responses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portreeve_xds::session::COMPANION_WAIT;
use portreeve_xds::{EnvoyType, Request, Resource, Response, Session, Variant};

use crate::peer::{Peer, about, ack, eds_cluster, res};

/// One way to run a case.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub variant: Variant,
    /// One stream for all types, or the service of one type.
    pub aggregated: bool,
    /// Whether clusters have assignments as companions.
    pub companions: bool,
}

/// The last received version of a resource.
#[derive(Debug)]
struct Seen {
    body: Vec<u8>,
    nonce: String,
}

/// A stream and what the client received on it.
pub struct Client {
    mode: Mode,
    peer: Peer,
    /// State of the world: the names of the last subscription, repeated by each ACK.
    asked: BTreeMap<EnvoyType, Vec<String>>,
    seen: BTreeMap<(EnvoyType, String), Seen>,
    removed: BTreeSet<(EnvoyType, String)>,
    nonces: BTreeMap<EnvoyType, String>,
    requests: usize,
    responses: usize,
}

/// The names of a list such as `A,B`.
fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(Into::into).collect()
}

// === impl Mode ===

impl Mode {
    /// Both kinds of service, with and without companions.
    pub fn all(variant: Variant) -> impl Iterator<Item = Self> {
        let pairs = [(false, false), (false, true), (true, false), (true, true)];
        pairs.into_iter().map(move |(aggregated, companions)| Self { variant, aggregated, companions })
    }
}

// === impl Client ===

impl Client {
    /// Opens a stream to a target with these names of every type at version 1.
    pub fn new(mode: Mode, ty: EnvoyType, resources: &str) -> Self {
        let only = (!mode.aggregated).then_some(ty);
        let mut peer = Peer { session: Session::new(mode.variant, only), ..Peer::delta() };
        let all = [EnvoyType::Cluster, EnvoyType::Endpoint, EnvoyType::Listener, EnvoyType::Route];
        let names = list(resources);
        let each = all.into_iter().flat_map(|ty| names.iter().map(move |name| (ty, name)));
        peer.change(each.map(|(ty, name)| resource(mode, ty, name, "1")).collect(), &[]);
        Self {
            mode,
            peer,
            asked: BTreeMap::new(),
            seen: BTreeMap::new(),
            removed: BTreeSet::new(),
            nonces: BTreeMap::new(),
            requests: 0,
            responses: 0,
        }
    }

    /// Subscribes to names, or to all resources if there are none.
    pub fn subscribe(&mut self, ty: EnvoyType, names: &str) {
        let req = match self.mode.variant {
            Variant::Delta => Request { subscribe: list(names), ..about(ty) },
            Variant::Sotw => self.asking(ty, list(names), true),
        };
        self.send(req);
    }

    /// Replaces the subscription by one name. The request answers the response that contained the name.
    pub fn narrow(&mut self, ty: EnvoyType, name: &str) {
        self.seen.retain(|(of, seen), _| *of != ty || seen == name);
        let req = self.asking(ty, list(name), true);
        self.send(req);
    }

    /// Ends the subscription to names. State of the world does it by subscribing to an empty name.
    pub fn unsubscribe(&mut self, ty: EnvoyType, names: &str) {
        let req = match self.mode.variant {
            Variant::Delta => Request { unsubscribe: list(names), ..about(ty) },
            Variant::Sotw => self.asking(ty, vec![String::new()], false),
        };
        let gone = list(names);
        self.seen.retain(|(of, name), _| *of != ty || !gone.contains(name));
        self.send(req);
    }

    /// Adds or updates a resource of the target.
    pub fn put(&mut self, ty: EnvoyType, name: &str, version: &str) {
        self.peer.change(vec![resource(self.mode, ty, name, version)], &[]);
        self.receive();
    }

    /// Removes a resource of the target.
    pub fn remove(&mut self, ty: EnvoyType, name: &str) {
        self.peer.change(vec![], &[(ty, name)]);
        self.receive();
    }

    /// Checks that the last received version of each name is this one.
    pub fn has(&self, ty: EnvoyType, names: &str, version: &str) {
        for name in list(names) {
            let seen = self.seen.get(&(ty, name.clone()));
            let body = seen.map(|seen| String::from_utf8_lossy(&seen.body));
            assert_eq!(body.as_deref(), Some(version), "{ty:?} {name} in {:?}", self.mode);
        }
    }

    /// Checks that the client has these names and no others.
    pub fn has_only(&self, ty: EnvoyType, names: &str) {
        let seen = self.seen.keys().filter(|(of, _)| *of == ty).map(|(_, name)| name.clone());
        assert_eq!(seen.collect::<BTreeSet<_>>(), list(names).into_iter().collect(), "{:?}", self.mode);
    }

    /// Checks that the same response brought all names last.
    pub fn in_one_response(&self, ty: EnvoyType, names: &str) {
        let nonce = |name: String| self.seen.get(&(ty, name)).map(|seen| &seen.nonce);
        let nonces: BTreeSet<_> = list(names).into_iter().map(nonce).collect();
        assert_eq!(nonces.len(), 1, "{names} in {:?}", self.mode);
    }

    /// Checks that the last response with this name had no other name.
    pub fn alone(&self, ty: EnvoyType, name: &str) {
        let nonce = &self.seen[&(ty, name.to_string())].nonce;
        let same = self.seen.iter().filter(|((of, _), seen)| *of == ty && seen.nonce == *nonce);
        assert_eq!(same.count(), 1, "{ty:?} {name} in {:?}", self.mode);
    }

    /// Checks that the name is among the removed resources.
    pub fn lost(&self, ty: EnvoyType, name: &str) {
        assert!(self.removed.contains(&(ty, name.to_string())), "{ty:?} {name} in {:?}", self.mode);
    }

    /// Checks that each response was answered once and no ACK caused another response.
    pub fn answered_no_ack(&self) {
        assert!(self.requests > self.responses, "{} for {}", self.responses, self.requests);
    }

    fn asking(&mut self, ty: EnvoyType, names: Vec<String>, versioned: bool) -> Request<EnvoyType> {
        self.asked.insert(ty, names.clone());
        let nonce = self.nonces.get(&ty).cloned().unwrap_or_default();
        let version_info = if versioned && !nonce.is_empty() { "any".into() } else { String::new() };
        Request { names, nonce, version_info, ..about(ty) }
    }

    fn send(&mut self, req: Request<EnvoyType>) {
        self.requests += 1;
        self.peer.session.request(req, &self.peer.snap, self.peer.now);
        self.receive();
    }

    /// Receives and acknowledges all responses, those behind waits included.
    fn receive(&mut self) {
        for _ in 0..3 {
            while let Some(response) = self.peer.session.next(&self.peer.snap, self.peer.now) {
                self.take(&response);
            }
            self.peer.pass(COMPANION_WAIT);
        }
    }

    fn take(&mut self, response: &Response<EnvoyType>) {
        let Some(ty) = response.ty else { panic!("a type that nobody asked for") };
        self.responses += 1;
        assert!(self.responses < 20, "the server never stops in {:?}", self.mode);
        self.nonces.insert(ty, response.nonce.clone());
        for one in response.resources.iter() {
            let seen = Seen { body: one.body().to_vec(), nonce: response.nonce.clone() };
            self.seen.insert((ty, one.name().to_string()), seen);
            self.removed.remove(&(ty, one.name().to_string()));
        }
        for name in &response.removed {
            self.seen.remove(&(ty, name.to_string()));
            self.removed.insert((ty, name.to_string()));
        }
        let names = self.asked.get(&ty).cloned().unwrap_or_default();
        let version_info = response.version.to_string();
        let req = match self.mode.variant {
            Variant::Delta => ack(response),
            Variant::Sotw => Request { names, version_info, ..ack(response) },
        };
        self.requests += 1;
        self.peer.session.request(req, &self.peer.snap, self.peer.now);
    }
}

fn resource(mode: Mode, ty: EnvoyType, name: &str, version: &str) -> (EnvoyType, Arc<Resource>) {
    match ty {
        EnvoyType::Cluster if mode.companions => eds_cluster(name, version),
        _ => res(ty, name, version),
    }
}
