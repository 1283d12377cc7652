//! The harness's control plane is a real one.

use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery::pinned_kind;
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::manifest;
use portreeve_tests::netns::Bed;

/// A custom kind.
const CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: buoys.test.portreeve.dev}
spec:
  group: test.portreeve.dev
  scope: Namespaced
  names: {kind: Buoy, plural: buoys, singular: buoy}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {colour: {type: string, enum: [red, green]}}}
          status: {type: object, properties: {lit: {type: boolean}}}
";

/// An object of that kind.
const BUOY: &str = "
apiVersion: test.portreeve.dev/v1
kind: Buoy
metadata: {name: east}
spec: {colour: green}
";

/// The buoy as stored.
async fn buoy(plane: &ControlPlane) -> Result<DynamicObject> {
    let client = plane.client()?;
    let kind = GroupVersionKind::gvk("test.portreeve.dev", "v1", "Buoy");
    let (resource, _) = pinned_kind(&client, &kind).await?;
    Ok(Api::<DynamicObject>::namespaced_with(client, "default", &resource).get("east").await?)
}

#[tokio::test]
async fn custom_resources_round_trip_and_outlive_the_api_server() -> Result<()> {
    let started = Instant::now();
    let mut plane = ControlPlane::start().await?;
    eprintln!("ready after {:.1?}", started.elapsed());
    let version = plane.client()?.apiserver_version().await?;
    assert_eq!(version.git_version, "v1.34.4");

    let crds = tempfile::tempdir()?;
    std::fs::write(crds.path().join("buoy.yaml"), CRD)?;
    plane.install_crds_of(crds.path()).await?;
    plane.apply(BUOY).await?;
    let status = format!("{BUOY}status: {{lit: true}}\n");
    manifest::apply_status(&plane.client()?, &status).await?;
    let stored = buoy(&plane).await?;
    assert_eq!(
        (&stored.data["spec"]["colour"], &stored.data["status"]["lit"]),
        (&"green".into(), &true.into())
    );
    let refused = plane.apply(&BUOY.replace("green", "pink")).await.unwrap_err();
    assert!(format!("{refused:#}").contains("Unsupported value: \"pink\""), "{refused:#}");

    plane.kill();
    assert!(buoy(&plane).await.is_err(), "a killed server answers");
    plane.revive().await?;
    assert_eq!(buoy(&plane).await?.metadata.uid, stored.metadata.uid);
    manifest::delete(&plane.client()?, BUOY).await?;
    assert!(buoy(&plane).await.is_err(), "deleted, but there");
    Ok(())
}

#[tokio::test]
async fn processes_in_a_bed_reach_the_api_server_with_rights_of_their_own() -> Result<()> {
    let bed = Bed::new()?;
    let node = bed.node(1)?;
    let plane = ControlPlane::start_in(&bed).await?;
    let path = plane.kubeconfig("hub")?;
    let text = std::fs::read_to_string(path)?;
    // Exactly as a process on the node uses the file.
    let answered = node.block_on(async move {
        let config = kube::config::Kubeconfig::from_yaml(&text)?;
        let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
        let client = kube::Client::try_from(config)?;
        let version = client.apiserver_version().await?;
        let refused = Api::<ConfigMap>::namespaced(client, "default").list(&Default::default()).await;
        anyhow::Ok((version.git_version, refused.map(drop).unwrap_err().to_string()))
    })??;
    assert_eq!(answered.0, "v1.34.4");
    assert!(answered.1.contains("system:serviceaccount:portreeve:portreeve-hub"), "{}", answered.1);
    Ok(())
}

/// The environment of an agent's pod.
const AGENT: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: portreeve}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: agent, namespace: portreeve}}
---
apiVersion: v1
kind: Pod
metadata: {name: agent-1, namespace: portreeve}
spec: {nodeName: n1, serviceAccountName: agent, containers: [{name: agent, image: agent}]}
";

#[tokio::test]
async fn a_bound_token_carries_its_pod_and_node() -> Result<()> {
    use k8s_openapi::api::authentication::v1::TokenReview;
    let plane = ControlPlane::start().await?;
    plane.apply(AGENT).await?;
    let token = plane.bound_token("agent", "portreeve/agent-1", "portreeve-hub").await?;
    let review = serde_json::from_value::<TokenReview>(serde_json::json!({
        "metadata": {}, "spec": {"token": token, "audiences": ["portreeve-hub"]},
    }))?;
    let reviews = Api::<TokenReview>::all(plane.client()?);
    let status = reviews.create(&Default::default(), &review).await?.status.unwrap_or_default();
    assert_eq!(status.authenticated, Some(true), "{status:?}");
    let extra = status.user.and_then(|user| user.extra).unwrap_or_default();
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], ["agent-1"]);
    Ok(())
}

#[tokio::test]
async fn a_stopped_api_server_is_silent_and_goes_on() -> Result<()> {
    let mut plane = ControlPlane::start().await?;
    let client = plane.client()?;
    plane.apiserver().map_or(Ok(()), |apiserver| apiserver.stop())?;
    let silent = tokio::time::timeout(Duration::from_millis(300), client.apiserver_version()).await;
    assert!(silent.is_err(), "a stopped server answers");
    plane.apiserver().map_or(Ok(()), |apiserver| apiserver.cont())?;
    plane.client()?.apiserver_version().await?;
    Ok(())
}
