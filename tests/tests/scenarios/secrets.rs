//! A hub reads the Secrets that objects name, and no others.

use std::any::Any;
use std::sync::Arc;

use anyhow::{Result, ensure};
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
use portreeve_hub::secrets;
use portreeve_hub::selection::{Selection, SelectorScope};
use portreeve_hub::services::{Names, Services};
use portreeve_runtime::Readiness;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{manifest, wait};
use serde_json::{Value, json};

/// A kind of this test. Its objects ask for the key `tls.crt` of a Secret.
static KIND: Kind =
    Kind { api: Api::E, name: "Asker", namespaced: true, prefix: "E/Asker", purpose: Purpose::Listeners };

/// An object that asks for the Secret with its name. The answer becomes a warning in its verdict.
#[derive(Clone, Debug)]
struct Asker(ObjectMeta);

/// The rights to one Secret.
const RIGHTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: cert, namespace: default}
rules:
- {apiGroups: [''], resources: [secrets], resourceNames: [cert], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: cert, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: cert}
subjects:
- {kind: ServiceAccount, name: portreeve-hub, namespace: portreeve}
";

/// A Secret `cert` with these fields.
fn secret(data: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: cert, namespace: default}}, stringData: {data}}}"
    )
}

// === impl Asker ===

impl Asker {
    fn new(name: &str) -> Self {
        let (name, uid) = (Some(name.to_owned()), Some(format!("uid-{name}")));
        Self(ObjectMeta { name, uid, namespace: Some("default".into()), ..ObjectMeta::default() })
    }

    fn name(&self) -> Name {
        self.0.name.as_deref().unwrap_or_default().into()
    }
}

impl Object for Asker {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0
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
        Ok(json!({"metadata": serde_json::to_value(&self.0)?}))
    }

    fn boxed(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}

impl Root for Asker {
    fn resolve(&self, lookup: &mut Lookup<'_>) -> Result<Resolved, Rejection> {
        let (namespace, name) = (Name::from("default"), self.name());
        let keys = lookup.secret(&namespace, &name).map(|facts| facts.keys.len());
        let content = lookup.secret_content(&namespace, &name, "tls.crt");
        let content = content.map(|content| String::from_utf8_lossy(content.as_slice()).into_owned());
        let answer = match keys {
            None => "absent".to_owned(),
            Some(keys) => format!("{keys} keys, tls.crt: {}", content.as_deref().unwrap_or("lacking")),
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
        Ok(Resolved { plan, workload, groups: Vec::new(), warnings, told: Vec::new() })
    }
}

fn reference(name: &str) -> ObjectRef {
    ObjectRef::namespaced(&KIND, "default", name)
}

/// Waits until an object is accepted with this answer.
async fn answers(feed: &Feed, name: &str, answer: &str) -> Result<()> {
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
async fn rejects(feed: &Feed, name: &str, words: &str) -> Result<()> {
    wait::until(words, BOUND, || async {
        let rejection = feed.subject(&reference(name)).and_then(|subject| subject.verdict.rejection);
        rejection.is_some_and(|rejection| rejection.message.contains(words))
    })
    .await
}

/// A feed whose hub has the rights in `deploy/rbac`.
fn feed() -> Arc<Feed> {
    Feed::new(Index::new(SelectorScope::Namespace, 0), Readiness::default(), Door::Open)
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_is_read_by_the_right_to_its_name_and_followed_while_an_object_asks_for_it() -> Result<()> {
    let mut town = Town::without_portreeve(0).await?;
    let feed = feed();
    let watching = secrets::run(town.control.client_of("hub")?, feed.clone());
    tokio::select! {
        ended = watching => ended,
        done = follow(&mut town, &feed) => done,
    }
}

async fn follow(town: &mut Town, feed: &Feed) -> Result<()> {
    feed.load(|index, now| index.apply_object(&Asker::new("cert"), now));
    rejects(feed, "cert", "the hub may not read Secret default/cert: grant").await?;
    town.apply(RIGHTS).await?;
    answers(feed, "cert", "absent").await?;
    town.apply(&secret("{tls.key: hidden}")).await?;
    answers(feed, "cert", "1 keys, tls.crt: lacking").await?;
    town.apply(&secret("{tls.key: hidden, tls.crt: one}")).await?;
    answers(feed, "cert", "2 keys, tls.crt: one").await?;
    // Another object's missing right changes nothing for this one.
    town.apply(&secret("{tls.crt: other}").replace("name: cert", "name: other")).await?;
    feed.load(|index, now| index.apply_object(&Asker::new("other"), now));
    rejects(feed, "other", "the hub may not read Secret default/other: grant").await?;
    answers(feed, "cert", "2 keys, tls.crt: one").await?;

    town.control.kill();
    // The watch has failed when the API server is back, because its connection is gone.
    answers(feed, "cert", "2 keys, tls.crt: one").await?;
    town.control.revive().await?;
    answers(feed, "cert", "2 keys, tls.crt: one").await?;
    town.apply(&secret("{tls.key: hidden, tls.crt: two}")).await?;
    answers(feed, "cert", "2 keys, tls.crt: two").await?;

    feed.load(|index, now| index.delete_object(&reference("cert"), now));
    ensure!(feed.wanted_secrets().borrow().len() == 1, "only the other object asks");
    town.apply(&secret("{tls.key: hidden, tls.crt: three}")).await?;
    feed.load(|index, now| index.apply_object(&Asker::new("cert"), now));
    answers(feed, "cert", "2 keys, tls.crt: three").await?;
    manifest::delete(&town.client, &secret("{}")).await?;
    answers(feed, "cert", "absent").await
}
