//! The suite's client: it acknowledges every response at once, remembers what came last of each name, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use portreeve_xds::{EnvoyType, ResourceType, Variant};

use super::pipe::{Ask, Heard, Pipe};

/// A type that no server has. Its answer shows that all earlier requests were handled.
const FOREIGN: &str = "type.googleapis.com/suite.Ping";

/// The last response with a name.
#[derive(Clone, Debug)]
struct Seen {
    version: String,
    /// `version_info`, or `system_version_info`.
    text: String,
    nonce: String,
}

pub struct Client {
    pipe: Pipe,
    variant: Variant,
    /// State of the world: type and names that every ACK repeats. As in the suite, they are those of the first
    /// subscription also when the response is of another type; such an ACK answers nothing.
    subscription: (EnvoyType, Vec<String>),
    seen: BTreeMap<EnvoyType, BTreeMap<String, Seen>>,
    removed: BTreeSet<(EnvoyType, String)>,
    /// State of the world: the target's version behind each `version_info`. The suite's servers have the version itself
    /// there, this one a hash of what the client then has.
    versions: BTreeMap<(EnvoyType, String), String>,
    requests: usize,
    responses: usize,
    pings: usize,
}

/// The names of a list such as `A,B`.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(Into::into).collect()
}

// === impl Client ===

impl Client {
    /// Opens a stream for a first subscription.
    pub async fn open(
        sock: &Path,
        (variant, aggregated): (Variant, bool),
        (ty, names): (EnvoyType, &str),
    ) -> Result<Self, String> {
        let only = (!aggregated).then_some(ty);
        let pipe = Pipe::open(sock, variant, only).await.map_err(|status| status.to_string())?;
        Ok(Self {
            pipe,
            variant,
            subscription: (ty, list(names)),
            seen: BTreeMap::new(),
            removed: BTreeSet::new(),
            versions: BTreeMap::new(),
            requests: 0,
            responses: 0,
            pings: 0,
        })
    }

    pub async fn subscribe(&mut self, ty: EnvoyType, names: &str) -> Result<(), String> {
        self.seen.insert(ty, BTreeMap::new());
        self.removed.retain(|(of, _)| *of != ty);
        self.send(Ask { names: list(names), with_node: true, ..about(ty) }).await
    }

    /// Replaces the names by one, in a request that answers the response which that one came in.
    pub async fn narrow(&mut self, ty: EnvoyType, name: &str) -> Result<(), String> {
        let all = self.seen.entry(ty).or_default();
        all.retain(|seen, _| seen == name);
        let Seen { text: version, nonce, .. } = all.get(name).cloned().ok_or("it never came")?;
        self.subscription = (ty, list(name));
        self.send(Ask { names: list(name), version, nonce, ..about(ty) }).await
    }

    /// Replaces the names by an empty one.
    pub async fn leave_all(&mut self, ty: EnvoyType) -> Result<(), String> {
        let seen = self.seen.insert(ty, BTreeMap::new()).unwrap_or_default();
        let nonce = seen.into_values().next().map(|seen| seen.nonce).ok_or("nothing came")?;
        self.subscription = (ty, vec![String::new()]);
        self.send(Ask { names: vec![String::new()], nonce, ..about(ty) }).await
    }

    pub async fn unsubscribe(&mut self, ty: EnvoyType, name: &str) -> Result<(), String> {
        self.seen.entry(ty).or_default().remove(name);
        self.send(Ask { unsubscribe: list(name), ..about(ty) }).await
    }

    /// Whether the last received version of each name is this one.
    pub fn has(&self, ty: EnvoyType, names: &str, version: &str) -> Result<(), String> {
        let wrong = list(names)
            .into_iter()
            .find(|name| self.seen_of(ty).get(name).is_none_or(|seen| seen.version != version));
        self.none_of(ty, "is not there at that version", wrong)
    }

    /// Whether no other name was received.
    pub fn nothing_but(&self, ty: EnvoyType, names: &str) -> Result<(), String> {
        let names = list(names);
        let other = self.seen_of(ty).keys().find(|name| !names.contains(*name)).cloned();
        self.none_of(ty, "came", other)
    }

    /// Whether the name was not received since the client unsubscribed.
    pub fn lacks(&self, ty: EnvoyType, name: &str) -> Result<(), String> {
        let there = self.seen_of(ty).contains_key(name).then(|| name.to_string());
        self.none_of(ty, "came", there)
    }

    pub fn in_one_response(&self, ty: EnvoyType, names: &str) -> Result<(), String> {
        let nonce = |name: &String| self.seen_of(ty).get(name).map(|seen| seen.nonce.clone());
        let nonces: BTreeSet<_> = list(names).iter().map(nonce).collect();
        let several = (nonces.len() > 1).then(|| names.to_string());
        self.none_of(ty, "came in several responses", several)
    }

    /// Whether the same response had no other name. With `also_version`, no other name may have the same version either.
    pub fn alone(&self, ty: EnvoyType, name: &str, also_version: bool) -> Result<(), String> {
        let all = self.seen_of(ty);
        let one = all.get(name).ok_or("it never came")?;
        let same = |seen: &Seen| seen.nonce == one.nonce || also_version && seen.text == one.text;
        let other = all.iter().find(|(other, seen)| *other != name && same(seen));
        self.none_of(ty, "came with it", other.map(|(name, _)| name.clone()))
    }

    pub fn lost(&self, ty: EnvoyType, name: &str) -> Result<(), String> {
        let there = (!self.removed.contains(&(ty, name.to_string()))).then(|| name.to_string());
        self.none_of(ty, "is not in removed_resources", there)
    }

    /// Whether there were fewer responses than requests, so that no ACK was answered.
    pub fn no_ack_was_answered(&self) -> Result<(), String> {
        if self.requests > self.responses {
            return Ok(());
        }
        Err(format!("{} responses to {} requests", self.responses, self.requests))
    }

    /// Receives all responses to the requests and changes so far. The server sends the first answer when it has handled all
    /// of them, and the second when it has sent the responses that follow.
    pub async fn catch_up(&mut self, version: &str) -> Result<(), String> {
        for _ in 0..2 {
            self.pings += 1;
            let names = vec![self.pings.to_string()];
            self.pipe.send(Ask { type_url: FOREIGN.into(), names, ..Ask::default() }).await?;
            while self.receive(version).await?.type_url != FOREIGN {}
        }
        Ok(())
    }

    /// Receives and acknowledges one response while the target's version is `version`.
    pub async fn receive(&mut self, version: &str) -> Result<Heard, String> {
        let heard = self.pipe.next().await?;
        let Some(ty) = EnvoyType::from_type_url(&heard.type_url) else { return Ok(heard) };
        self.responses += 1;
        if heard.nonce.is_empty() {
            return Err(format!("no nonce in {heard:?}"));
        }
        let version = match self.variant {
            Variant::Delta => heard.version.clone(),
            Variant::Sotw => {
                let key = (ty, heard.version.clone());
                self.versions.entry(key).or_insert_with(|| version.to_string()).clone()
            }
        };
        let seen = Seen { version, text: heard.version.clone(), nonce: heard.nonce.clone() };
        for name in &heard.names {
            self.seen.entry(ty).or_default().insert(name.clone(), seen.clone());
            self.removed.remove(&(ty, name.clone()));
        }
        self.removed.extend(heard.removed.iter().map(|name| (ty, name.clone())));
        self.acknowledge(ty, &heard).await?;
        Ok(heard)
    }

    async fn acknowledge(&mut self, ty: EnvoyType, heard: &Heard) -> Result<(), String> {
        let nonce = heard.nonce.clone();
        let ack = match self.variant {
            Variant::Delta => Ask { nonce, ..about(ty) },
            Variant::Sotw => {
                let (ty, names) = self.subscription.clone();
                Ask { names, version: heard.version.clone(), nonce, ..about(ty) }
            }
        };
        self.send(ack).await
    }

    async fn send(&mut self, ask: Ask) -> Result<(), String> {
        self.requests += 1;
        self.pipe.send(ask).await
    }

    fn seen_of(&self, ty: EnvoyType) -> BTreeMap<String, Seen> {
        self.seen.get(&ty).cloned().unwrap_or_default()
    }

    fn none_of(&self, ty: EnvoyType, what: &str, name: Option<String>) -> Result<(), String> {
        let told = |name| format!("{ty:?} {name} {what}: {:?} {:?}", self.seen_of(ty), self.removed);
        name.map_or(Ok(()), |name| Err(told(name)))
    }
}

/// A request about a type that says nothing else.
fn about(ty: EnvoyType) -> Ask {
    Ask { type_url: ty.type_url().into(), ..Ask::default() }
}
