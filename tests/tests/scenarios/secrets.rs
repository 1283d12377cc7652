//! A hub reads the Secrets that objects name, and no others.

use anyhow::{Result, ensure};
use portreeve_hub::feed::Feed;
use portreeve_hub::secrets;
use portreeve_tests::manifest;
use portreeve_tests::town::Town;

use crate::askers::{Asker, Asks, answers, feed, reference, rejects};

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
    feed.load(|index, now| index.apply_object(&Asker::new(Asks::Secret, "cert"), now));
    rejects(feed, "cert", "the hub may not read Secret default/cert: grant").await?;
    town.apply(RIGHTS).await?;
    answers(feed, "cert", "absent").await?;
    town.apply(&secret("{tls.key: hidden}")).await?;
    answers(feed, "cert", "1 keys, tls.crt: lacking").await?;
    town.apply(&secret("{tls.key: hidden, tls.crt: one}")).await?;
    answers(feed, "cert", "2 keys, tls.crt: one").await?;
    // Another object's missing right changes nothing for this one.
    town.apply(&secret("{tls.crt: other}").replace("name: cert", "name: other")).await?;
    feed.load(|index, now| index.apply_object(&Asker::new(Asks::Secret, "other"), now));
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
    feed.load(|index, now| index.apply_object(&Asker::new(Asks::Secret, "cert"), now));
    answers(feed, "cert", "2 keys, tls.crt: three").await?;
    // Deleted and created again before the watch sees that.
    feed.load(|index, now| {
        index.delete_object(&reference("cert"), now);
        index.apply_object(&Asker::new(Asks::Secret, "cert"), now);
    });
    answers(feed, "cert", "2 keys, tls.crt: three").await?;
    manifest::delete(&town.client, &secret("{}")).await?;
    answers(feed, "cert", "absent").await
}
