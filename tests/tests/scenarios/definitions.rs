//! A hub whose cluster lacks the definition of a kind, as after an upgrade by Helm, which installs no new definitions.

use std::fs;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::DeleteParams;
use portreeve_api::d::ingress_listener::IngressListener;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::virtual_service::{Host, Service, said};
use portreeve_tests::{kustomize, wait};

const DEFINITION: &str = "ingresslisteners.ingresslistener.envoy.uw.systems";
const LISTENER: &str = "
apiVersion: ingresslistener.envoy.uw.systems/v1alpha1
kind: IngressListener
metadata: {name: web, namespace: default}
spec: {nodename: web, listenport: 8080, targetport: 80, rbac: {cluster: peers}}
";

#[tokio::test]
async fn hub_works_without_a_missing_definition_and_takes_its_objects_once_it_is_installed() -> Result<()> {
    let mut town = Town::without_portreeve(1).await?;
    let definitions = Api::<CustomResourceDefinition>::all(town.client.clone());
    definitions.delete(DEFINITION, &DeleteParams::default()).await?;
    let gone = || async { definitions.get_opt(DEFINITION).await.is_ok_and(|found| found.is_none()) };
    wait::until("the definition to be gone", BOUND, gone).await?;

    town.start_hub()?;
    town.start_agent(0)?;
    town.gateways().await?;
    let service = Service::new("call", "app: envoy-ingress").udp("l", 5001, &[Host::At("10.0.0.1")], 6000);
    town.apply(&service.yaml()).await?;
    println!("Programmed: {}", said(&town.client, "call", ("Programmed", "True"), BOUND).await?);

    let file = kustomize::deploy().join("crds").join(format!("{DEFINITION}.yaml"));
    town.apply(&fs::read_to_string(&file).context(file.display().to_string())?).await?;
    let accepted = || async { town.apply(LISTENER).await.is_ok() };
    wait::until("the new kind to be served", BOUND, accepted).await?;
    let listeners = Api::<IngressListener>::namespaced(town.client.clone(), "default");
    wait::seen(listeners, wait::named("web"), ("Accepted=True of web", BOUND), |object| {
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|one| one.type_ == "Accepted" && one.status == "True").then_some(())
    })
    .await
}
