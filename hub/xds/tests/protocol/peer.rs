//! A client of one session: sends requests, pulls responses and shows them as short text.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_xds::{
    Changes, EnvoyType, Event, Kind, Name, Request, Resource, Response, Session, Snapshot, Variant, Version,
};

/// The client of one stream, and the snapshot that its session serves.
pub struct Peer {
    pub session: Session<EnvoyType>,
    pub snap: Snapshot<EnvoyType>,
    pub now: Instant,
}

impl Peer {
    pub fn new(variant: Variant) -> Self {
        Self { session: Session::new(variant, None), snap: Snapshot::new(), now: Instant::now() }
    }

    pub fn delta() -> Self {
        Self::new(Variant::Delta)
    }

    pub fn sotw() -> Self {
        Self::new(Variant::Sotw)
    }

    /// Opens a new stream to the same server: the snapshot stays, the session is new.
    pub fn reconnected(self, variant: Variant) -> Self {
        Self { session: Session::new(variant, None), ..self }
    }

    /// Applies one transaction.
    pub fn change(&mut self, upsert: Vec<(EnvoyType, Arc<Resource>)>, remove: &[(EnvoyType, &str)]) {
        let remove = remove.iter().map(|(ty, name)| (*ty, Name::from(*name))).collect();
        let dirty: BTreeSet<_> = self.snap.apply(Changes { upsert, remove }).into_iter().collect();
        self.session.changed(&dirty, &self.snap, self.now);
    }

    /// Sends a request. Returns the responses as text.
    pub fn says(&mut self, req: Request<EnvoyType>) -> Vec<String> {
        self.session.request(req, &self.snap, self.now);
        self.hears()
    }

    /// Returns all responses that need no further request, as text.
    pub fn hears(&mut self) -> Vec<String> {
        self.pull().iter().map(show).collect()
    }

    /// Returns all responses that need no further request.
    pub fn pull(&mut self) -> Vec<Response<EnvoyType>> {
        let mut all = Vec::new();
        while let Some(response) = self.session.next(&self.snap, self.now) {
            assert!(all.len() < 100, "the session never stops");
            all.push(response);
        }
        all
    }

    pub fn ack(&mut self, response: &Response<EnvoyType>) {
        self.session.request(ack(response), &self.snap, self.now);
    }

    pub fn nack(&mut self, response: &Response<EnvoyType>, text: &str) {
        let req = Request { error_detail: Some(text.into()), ..ack(response) };
        self.session.request(req, &self.snap, self.now);
    }

    /// ACKs until there are no more responses. Returns them as text.
    pub fn settle(&mut self) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(response) = self.session.next(&self.snap, self.now) {
            assert!(seen.len() < 1000, "the session never settles");
            seen.push(show(&response));
            self.ack(&response);
        }
        seen
    }

    /// Advances the clock.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.tick(&self.snap, self.now);
    }

    /// Returns the names and versions ACKed since the last call.
    pub fn acked(&mut self) -> Vec<(Name, Version)> {
        let events = self.session.events();
        let acked = events.iter().filter_map(|event| match event {
            Event::Acked { resources, .. } => Some(resources),
            _ => None,
        });
        acked.flat_map(|one| one.iter()).map(|(name, version)| (name.clone(), version)).collect()
    }
}

/// A client that has cluster a, its assignment and listener l.
pub fn established() -> Peer {
    let mut peer = Peer::delta();
    peer.change(
        vec![eds_cluster("a", "1"), res(EnvoyType::Endpoint, "a", "1"), res(EnvoyType::Listener, "l", "1")],
        &[],
    );
    peer.session.request(about(EnvoyType::Cluster), &peer.snap, peer.now);
    peer.session.request(subscribe(EnvoyType::Endpoint, &["a"]), &peer.snap, peer.now);
    peer.session.request(about(EnvoyType::Listener), &peer.snap, peer.now);
    assert_eq!(peer.settle(), ["Cluster +a", "Endpoint +a", "Listener +l"]);
    peer
}

/// An otherwise empty request about `ty`.
pub fn about(ty: EnvoyType) -> Request<EnvoyType> {
    Request::new(Kind::Known(ty))
}

pub fn subscribe(ty: EnvoyType, names: &[&str]) -> Request<EnvoyType> {
    Request { subscribe: strings(names), ..about(ty) }
}

pub fn unsubscribe(ty: EnvoyType, names: &[&str]) -> Request<EnvoyType> {
    Request { unsubscribe: strings(names), ..about(ty) }
}

/// A state-of-the-world request that answers no response.
pub fn names(ty: EnvoyType, names: &[&str]) -> Request<EnvoyType> {
    Request { names: strings(names), ..about(ty) }
}

/// The same request as the answer to `response`.
pub fn answering(req: Request<EnvoyType>, response: &Response<EnvoyType>) -> Request<EnvoyType> {
    Request { nonce: response.nonce.clone(), version_info: response.version.to_string(), ..req }
}

/// The ACK of a delta response.
pub fn ack(response: &Response<EnvoyType>) -> Request<EnvoyType> {
    let kind = response.ty.map_or(Kind::Unknown(response.type_url.as_ref().into()), Kind::Known);
    Request { nonce: response.nonce.clone(), ..Request::new(kind) }
}

pub fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A resource whose body is `text`.
pub fn res(ty: EnvoyType, name: &str, text: &str) -> (EnvoyType, Arc<Resource>) {
    (ty, Resource::new(ty, name, text.as_bytes()))
}

/// A cluster with the assignment of the same name as its companion.
pub fn eds_cluster(name: &str, text: &str) -> (EnvoyType, Arc<Resource>) {
    (EnvoyType::Cluster, Resource::with_companion(EnvoyType::Cluster, name, text.as_bytes(), name))
}

/// A response as text: `Cluster +a +b -c` has the type, then the names in the order of the message.
pub fn show(response: &Response<EnvoyType>) -> String {
    assert!(!response.nonce.is_empty() && !response.type_url.is_empty());
    let ty = response.ty.map_or("unknown".into(), |ty| format!("{ty:?}"));
    let upserts = response.resources.iter().map(|one| format!(" +{}", one.name()));
    let removed = response.removed.iter().map(|name| format!(" -{name}"));
    [ty].into_iter().chain(upserts).chain(removed).collect()
}
