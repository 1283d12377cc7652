//! What the call controllers of the earlier control plane do, with the rights of the migration example.

use anyhow::{Result, ensure};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Error, ResourceExt as _};
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_tests::town::{self, BOUND};
use portreeve_tests::{kustomize, wait};

/// In a real cluster, a controller creates it with its namespace.
const ACCOUNT: &str = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}";

fn read(path: &str) -> Result<String> {
    Ok(std::fs::read_to_string(kustomize::deploy().join(path))?)
}

fn is_forbidden<T>(answer: Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Api(status)) if status.code == 403)
}

#[tokio::test]
async fn controllers_that_run_as_default_can_do_each_step_of_a_call_and_nothing_else() -> Result<()> {
    let plane = town::api_server().await?;
    plane.apply(ACCOUNT).await?;
    let token = plane.unbound_token(("default", "default"), "https://kubernetes.default.svc").await?;
    let services: Api<VirtualService> = Api::namespaced(plane.client_with(&token)?, "default");
    ensure!(is_forbidden(services.list(&ListParams::default()).await), "it has rights of its own");
    plane.apply(&read("examples/migration/controllers.yaml")?).await?;
    let granted = || async { services.list(&ListParams::default()).await.is_ok() };
    wait::until("the API server to know of the rights", BOUND, granted).await?;

    for sample in ["ingress.yaml", "two-endpoints.yaml", "worker.yaml"] {
        let object: VirtualService = serde_yaml::from_str(&read(&format!("examples/seed-a/{sample}"))?)?;
        let name = object.name_any();
        services.create(&PostParams::default(), &object).await?;
        let read = services.get(&name).await?;
        services.replace(&name, &PostParams::default(), &read).await?;
        // Their way to delete: they add the finalizer, then delete, and the deletion waits for the finalizer.
        let finalizer = serde_json::json!({"metadata": {"finalizers": ["l7mp.io/delete"]}});
        services.patch(&name, &PatchParams::default(), &Patch::Merge(&finalizer)).await?;
        services.delete(&name, &DeleteParams::default()).await?;
        ensure!(services.get(&name).await?.metadata.deletion_timestamp.is_some(), "{name} is not on its way");
    }
    ensure!(services.list(&ListParams::default()).await?.items.len() == 3);

    let elsewhere: Api<VirtualService> = Api::namespaced(plane.client_with(&token)?, "portreeve");
    ensure!(is_forbidden(elsewhere.list(&ListParams::default()).await), "it sees other namespaces");
    let secrets: Api<k8s_openapi::api::core::v1::Secret> =
        Api::namespaced(plane.client_with(&token)?, "default");
    ensure!(is_forbidden(secrets.list(&ListParams::default()).await), "it sees secrets");
    Ok(())
}
