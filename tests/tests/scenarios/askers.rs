//! Objects of a kind of these tests ([`Asker`]), which ask for what the hub watches on demand.

use std::any::Any;
use std::sync::Arc;

use anyhow::Result;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::conditions::Reason;
use portreeve_api::kind::{Api, Kind, Purpose};
use portreeve_api::model::Plan;
use portreeve_api::plan;
use portreeve_api::refs::ObjectRef;
use portreeve_api::violation::Violation;
use portreeve_hub::auth::Door;
use portreeve_hub::feed::Feed;
use portreeve_hub::index::{Index, Name};
use portreeve_hub::lookup::{FoundBy, Lookup};
use portreeve_hub::object::{Object, Rejection, Resolved, Role, Root};
use portreeve_hub::selection::{Selection, SelectorScope};
use portreeve_hub::services::{Names, Services};
use portreeve_runtime::Readiness;
use portreeve_tests::town::BOUND;
use portreeve_tests::wait;
use serde_json::{Value, json};

/// The kind.
static KIND: Kind =
    Kind { api: Api::E, name: "Asker", namespaced: true, prefix: "E/Asker", purpose: Purpose::Listeners };

/// What an object asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// The key `tls.crt` of the Secret with its name.
    Secret,
    /// The Service with its name, and its endpoints.
    Service,
}

/// An object in the namespace `default`. The answer to what it asks becomes a warning in its verdict.
#[derive(Clone, Debug)]
pub struct Asker {
    meta: ObjectMeta,
    asks: Asks,
}

// === impl Asker ===

impl Asker {
    /// Creates an object with this name.
    pub fn new(asks: Asks, name: &str) -> Self {
        let (name, uid) = (Some(name.to_owned()), Some(format!("uid-{name}")));
        let meta = ObjectMeta { name, uid, namespace: Some("default".into()), ..ObjectMeta::default() };
        Self { meta, asks }
    }

    fn name(&self) -> Name {
        self.meta.name.as_deref().unwrap_or_default().into()
    }

    fn secret(&self, lookup: &mut Lookup<'_>) -> String {
        let (namespace, name) = (Name::from("default"), self.name());
        let keys = lookup.secret(&namespace, &name).map(|facts| facts.keys.len());
        let content = lookup.secret_content(&namespace, &name, "tls.crt");
        let content = content.map(|content| String::from_utf8_lossy(content.as_slice()).into_owned());
        match keys {
            None => "absent".to_owned(),
            Some(keys) => format!("{keys} keys, tls.crt: {}", content.as_deref().unwrap_or("lacking")),
        }
    }

    fn service(&self, lookup: &mut Lookup<'_>) -> String {
        let spec = lookup.service(&"default".into(), &self.name());
        match spec {
            None => "absent".to_owned(),
            Some(spec) => format!("{} ports", spec.ports.iter().flatten().count()),
        }
    }
}

impl Object for Asker {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }

    fn violations(&self) -> Vec<Violation> {
        Vec::new()
    }

    fn role(&self) -> Role<'_> {
        Role::Root(self)
    }

    fn found_by(&self) -> Option<Vec<FoundBy>> {
        None
    }

    fn shared(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(self.clone())
    }

    fn route(&mut self, _services: &Services<'_>, _names: &mut Names) -> Vec<String> {
        Vec::new()
    }

    fn to_value(&self) -> serde_json::Result<Value> {
        Ok(json!({"metadata": serde_json::to_value(&self.meta)?}))
    }

    fn boxed(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}

impl Root for Asker {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let (namespace, name) = (Name::from("default"), self.name());
        let answer = match self.asks {
            Asks::Secret => self.secret(lookup),
            Asks::Service => self.service(lookup),
        };
        let groups = match self.asks {
            Asks::Secret => Vec::new(),
            Asks::Service => vec![Selection::Service { namespace: namespace.clone(), name: name.clone() }],
        };
        let workload = Selection::of_labels(&[("app".into(), "gw".into())].into(), "default", lookup.scope());
        let origin = plan::Origin {
            api: "E".into(),
            kind: KIND.name.into(),
            namespace: namespace.to_string(),
            name: name.to_string(),
            ..Default::default()
        };
        let selector = Some((&workload.requirements()).into());
        let pods = plan::Workload { namespace: namespace.to_string(), selector, ..Default::default() };
        let message = plan::Plan { origin: Some(origin), workload: Some(pods), ..Default::default() };
        let plan = Plan::try_from(message)
            .map_err(|flaw| Rejection { reason: Reason::Invalid, message: flaw.to_string() })?;
        let warnings = vec![(Reason::Accepted, answer)];
        Ok(Resolved { plan, workload, groups, warnings, missing: Vec::new(), told: Vec::new() })
    }
}

/// The reference to an object.
pub fn reference(name: &str) -> ObjectRef {
    ObjectRef::namespaced(&KIND, "default", name)
}

/// Waits until an object is accepted with this answer.
pub async fn answers(feed: &Feed, name: &str, answer: &str) -> Result<()> {
    let what = format!("{name}: {answer}");
    wait::until(&what, BOUND, || async {
        feed.subject(&reference(name)).is_some_and(|subject| {
            let verdict = subject.verdict;
            verdict.rejection.is_none() && verdict.warnings == [(Reason::Accepted, answer.to_owned())]
        })
    })
    .await
}

/// Waits until an object is rejected with a message that contains `words`.
pub async fn rejects(feed: &Feed, name: &str, words: &str) -> Result<()> {
    wait::until(words, BOUND, || async {
        let rejection = feed.subject(&reference(name)).and_then(|subject| subject.verdict.rejection);
        rejection.is_some_and(|rejection| rejection.message.contains(words))
    })
    .await
}

/// An empty feed.
pub fn feed() -> Arc<Feed> {
    Feed::new(Index::new(SelectorScope::Namespace, 0), Readiness::default(), Door::Open)
}
