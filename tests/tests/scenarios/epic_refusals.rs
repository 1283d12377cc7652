//! What is wrong with objects of API C that open nothing themselves stands in their own conditions.

use anyhow::{Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DeleteParams};
use kube::core::DynamicObject;
use portreeve_api::c::{account, remote_endpoint, service_prefix};
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::{epic, wait};

/// An object: its kind, namespace and name.
type Named<'a> = (ApiResource, &'a str, &'a str);

fn api(town: &Town, (resource, namespace, _): &Named<'_>) -> Api<DynamicObject> {
    Api::namespaced_with(town.client.clone(), namespace, resource)
}

/// Waits until an object's condition ResolvedRefs has a status and a message with a text.
async fn says(town: &Town, object: &Named<'_>, (status, text): (&str, &str)) -> Result<()> {
    let what = format!("{}/{} to say {status} {text:?}", object.1, object.2);
    wait::until(&what, BOUND, || async {
        let Ok(found) = api(town, object).get(object.2).await else { return false };
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| {
            let message = one["message"].as_str().unwrap_or_default();
            one["type"] == "ResolvedRefs" && one["status"] == status && message.contains(text)
        })
    })
    .await
}

fn prefix(name: &str, pool: &str) -> String {
    format!(
        "
---
apiVersion: epic.acnodal.io/v1
kind: ServicePrefix
metadata: {{name: {name}, namespace: epic}}
spec: {{subnet: 192.0.2.0/24, pool: {pool}, gateway: 192.0.2.1}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_prefixes_and_endpoints_say_what_is_wrong_with_them_until_it_is_mended() -> Result<()> {
    let town = Town::start(1).await?;
    town.apply(&epic::account("a", "epic-a")).await?;
    let account: Named<'_> = ((account::DEFINITION.resource)(), "epic-a", "a");
    says(&town, &account, ("False", "namespace epic")).await?;
    town.apply(&epic::pool("192.0.2.0/24", "192.0.2.8-192.0.2.9", "192.0.2.1")).await?;
    says(&town, &account, ("True", "")).await?;

    let prefixes = (service_prefix::DEFINITION.resource)();
    let (first, second): (Named<'_>, Named<'_>) =
        ((prefixes.clone(), "epic", "default"), (prefixes, "epic", "spare"));
    says(&town, &first, ("True", "")).await?;
    town.apply(&prefix("spare", "192.0.2.9-192.0.2.12")).await?;
    says(&town, &second, ("False", "default")).await?;
    town.apply(&prefix("spare", "192.0.2.10-192.0.2.12")).await?;
    says(&town, &second, ("True", "")).await?;
    says(&town, &first, ("True", "")).await?;

    town.apply(&epic::group("a", "gold", true)).await?;
    let pod = [10, 244, 0, 9].into();
    town.apply(&epic::load_balancer("a", [192, 0, 2, 8].into(), [8080, 5060])).await?;
    town.apply(&epic::endpoints("a", pod, [7000, 6000])).await?;
    let remote = (remote_endpoint::DEFINITION.resource)();
    let (first, second): (Named<'_>, Named<'_>) =
        ((remote.clone(), "epic-a", "http"), (remote, "epic-a", "later"));
    says(&town, &first, ("True", "")).await?;
    let same = epic::endpoints("a", pod, [7000, 6000]);
    let same =
        same.split("---").nth(1).map(|one| one.replace("{name: http, namespace", "{name: later, namespace"));
    town.apply(&same.unwrap_or_default()).await?;
    says(&town, &second, ("False", "duplicate endpoint: http")).await?;
    api(&town, &first).delete("http", &DeleteParams::default()).await?;
    says(&town, &second, ("True", "")).await?;
    ensure!(api(&town, &second).get("later").await?.metadata.deletion_timestamp.is_none());
    Ok(())
}
