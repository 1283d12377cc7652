//! The policies in `deploy/admission.yaml`: where EPIC may be created, and what can't be deleted alone.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use portreeve_api::c::epic::Epic;
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::refusal;
use portreeve_api::c::service_group::ServiceGroup;
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::process::Process;
use portreeve_tests::town::BOUND;
use portreeve_tests::{assets, kustomize, manifest, wait};
use serde_json::json;

/// The namespaces `epic` and `epic-a`, and a group.
const OBJECTS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: epic}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: epic-a}}
---
apiVersion: epic.acnodal.io/v1
kind: ServiceGroup
metadata: {name: gold, namespace: epic-a}
spec: {}
";

fn epic(name: &str, namespace: &str) -> String {
    format!(
        "{{apiVersion: epic.acnodal.io/v1, kind: EPIC, metadata: {{name: {name}, namespace: {namespace}}}}}"
    )
}

/// A load balancer with these upstream clusters.
fn balancer(name: &str, clusters: &str) -> String {
    format!(
        "
apiVersion: epic.acnodal.io/v1
kind: LoadBalancer
metadata: {{name: {name}, namespace: epic-a, labels: {{owning-servicegroup: gold}}}}
spec: {{public-address: '', public-ports: [], upstream-clusters: {clusters}}}
"
    )
}

/// Returns the words of a refusal by a policy.
fn words<T>(answer: Result<T, kube::Error>) -> Result<String> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(status.message),
        Err(error) => bail!("not refused by a policy: {error}"),
        Ok(_) => bail!("not refused"),
    }
}

/// A server with definitions and policies.
struct Policed {
    epics: Api<Epic>,
    balancers: Api<LoadBalancer>,
    client: Client,
    plane: ControlPlane,
}

// === impl Policed ===

impl Policed {
    /// Starts the server, creates [`OBJECTS`], `epic/epic` and the load balancer `web` of the clusters A and B, and waits
    /// until the policies are in force.
    async fn start() -> Result<Self> {
        let plane = ControlPlane::start().await?;
        plane.install_crds().await?;
        let client = plane.client()?;
        let policies = fs::read_to_string(kustomize::deploy().join("admission.yaml"))?;
        manifest::apply_strictly(&client, &policies).await?;
        manifest::apply(&client, OBJECTS).await?;
        manifest::apply(&client, &epic("epic", "epic")).await?;
        manifest::apply(&client, &balancer("web", "[A, B]")).await?;
        let started = Self {
            epics: Api::namespaced(client.clone(), "epic"),
            balancers: Api::namespaced(client.clone(), "epic-a"),
            client,
            plane,
        };
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        let in_force = || async {
            started.epics.delete("epic", &dry).await.is_err()
                && started.balancers.delete("web", &dry).await.is_err()
        };
        wait::until("the policies to be in force", BOUND, in_force).await?;
        Ok(started)
    }

    async fn apply(&self, yaml: &str) -> Result<()> {
        manifest::apply(&self.client, yaml).await.map(drop)
    }

    /// Waits until a load balancer is gone.
    async fn gone(&self, name: &str) -> Result<()> {
        let gone = || async { self.balancers.get_opt(name).await.is_ok_and(|found| found.is_none()) };
        wait::until(&format!("the load balancer {name} to be gone"), BOUND, gone).await
    }

    /// Starts the controllers that delete the objects of namespaces and of owners.
    fn controllers(&self) -> Result<Process> {
        let mut command = Command::new(assets::controller_manager()?);
        command.arg("--kubeconfig").arg(self.plane.kubeconfig("controller-manager")?).args([
            "--controllers=namespace-controller,garbage-collector-controller",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
        ]);
        Process::spawn("controller-manager", &command)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn epic_is_created_in_one_place_and_stays() -> Result<()> {
    let town = Policed::start().await?;
    for (name, namespace, phrase) in [
        ("epic", "default", refusal::epic_namespace()),
        ("epic", "epic-a", refusal::epic_namespace()),
        ("other", "epic", refusal::epic_name()),
        ("other", "default", refusal::epic_name()),
    ] {
        let error = town.apply(&epic(name, namespace)).await.err();
        let error = error.with_context(|| format!("{namespace}/{name} was created"))?;
        ensure!(format!("{error:#}").contains(&phrase), "{error:#}");
    }
    let said = words(town.epics.delete("epic", &DeleteParams::default()).await)?;
    ensure!(said.ends_with(&refusal::epic_deletion()), "{said}");
    let all = town.epics.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
    let said = words(all)?;
    ensure!(said.ends_with(&refusal::epic_deletion()), "{said}");
    // The policy is for creations and deletions: everything else works.
    let change = Patch::Merge(json!({"spec": {"eds-image": "registry.example/eds:1"}}));
    town.epics.patch("epic", &PatchParams::default(), &change).await?;
    let counted = Patch::Merge(json!({"status": {"current-group-id": 7}}));
    let stored = town.epics.patch_status("epic", &PatchParams::default(), &counted).await?;
    ensure!(stored.status.and_then(|status| status.current_group_id) == Some(7));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn load_balancer_is_deleted_once_it_has_no_upstream_clusters() -> Result<()> {
    let town = Policed::start().await?;
    let web = town.balancers.get("web").await?;
    let phrase = web.deletion_refusal().context("it has upstream clusters")?;
    ensure!(phrase == "LB epic-a/web has upstream clusters, can't delete: [A B]", "{phrase}");
    let said = words(town.balancers.delete("web", &DeleteParams::default()).await)?;
    ensure!(said.ends_with(&format!(" denied request: {phrase}")), "{said}");
    let all = town.balancers.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
    let said = words(all)?;
    ensure!(said.ends_with(&format!(" denied request: {phrase}")), "{said}");

    // A message of the API server has at most 5 KiB.
    let long: Vec<String> = (0..6).map(|number| format!("{number}{}", "x".repeat(1000))).collect();
    town.apply(&balancer("long", &json!(long).to_string())).await?;
    let said = words(town.balancers.delete("long", &DeleteParams::default()).await)?;
    ensure!(said.ends_with("the LB has upstream clusters, can't delete"), "{said}");

    let none = Patch::Merge(json!({"spec": {"upstream-clusters": []}}));
    town.balancers.patch("web", &PatchParams::default(), &none).await?;
    town.apply(&balancer("unused", "[]").replace(", upstream-clusters: []", "")).await?;
    for name in ["web", "unused"] {
        town.balancers.delete(name, &DeleteParams::default()).await.with_context(|| name)?;
        town.gone(name).await?;
    }

    // The definition takes its objects with it, as in an uninstallation.
    let crds = Api::<CustomResourceDefinition>::all(town.client.clone());
    let name = "loadbalancers.epic.acnodal.io";
    crds.delete(name, &DeleteParams::default()).await?;
    let gone = || async { crds.get_opt(name).await.is_ok_and(|found| found.is_none()) };
    wait::until("the definition to be gone", BOUND, gone).await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_with_their_namespace_and_their_owner() -> Result<()> {
    let town = Policed::start().await?;
    let groups = Api::<ServiceGroup>::namespaced(town.client.clone(), "epic-a");
    let uid = groups.get("gold").await?.uid().context("a UID")?;
    let owner = format!("{{apiVersion: epic.acnodal.io/v1, kind: ServiceGroup, name: gold, uid: {uid}}}");
    let owned = balancer("owned", "[A]").replace("labels:", &format!("ownerReferences: [{owner}], labels:"));
    town.apply(&owned).await?;
    let _controllers = town.controllers()?;
    groups.delete("gold", &DeleteParams::default()).await?;
    town.gone("owned").await?;

    let namespaces = Api::<Namespace>::all(town.client.clone());
    for name in ["epic-a", "epic"] {
        namespaces.delete(name, &DeleteParams::default()).await?;
        let gone = || async { namespaces.get_opt(name).await.is_ok_and(|found| found.is_none()) };
        wait::until(&format!("the namespace {name} to be gone"), BOUND, gone).await?;
    }
    Ok(())
}
