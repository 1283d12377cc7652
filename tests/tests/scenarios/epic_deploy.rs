//! The manifests of EPIC's tunnels: the component for gateways' nodes and the example for a customer's cluster. A real API server
//! that rejects unknown fields takes them, and they start what the programs understand, with no further rights.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, PodSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use portreeve_agent::tunnels::directory;
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::{kustomize, manifest, wait};
use portreeve_tunnels::{GueArgs, GueClientArgs};
use serde_json::json;

use crate::deploy::{is_confined, words};

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(40);
/// The agent's directory on the nodes.
const RUN_DIR: &str = "/run/portreeve";
/// The device of the tunnels' packets.
const TUN: &str = "/dev/net/tun";
/// The account of a customer's nodes, and its namespace.
const CUSTOMER: (&str, &str) = ("system:serviceaccount:epic-sample:gue-client", "epic-sample");

#[derive(Parser)]
enum Role {
    Gue(GueArgs),
    GueClient(GueClientArgs),
}

/// Returns the pod of a DaemonSet that runs one end of the tunnels, as root with CAP_NET_ADMIN on the host's network.
async fn pod_of(client: &Client, namespace: &str, name: &str) -> Result<PodSpec> {
    let set = Api::<DaemonSet>::namespaced(client.clone(), namespace).get(name).await?;
    let pod = set.spec.and_then(|spec| spec.template.spec).context("a pod")?;
    let container = is_confined(&pod, &["NET_ADMIN"])?;
    let user = container.security_context.as_ref().and_then(|context| context.run_as_user);
    ensure!(user == Some(0), "capabilities need root: {user:?}");
    ensure!(pod.host_network == Some(true) && pod.host_pid.is_none(), "{pod:?}");
    Ok(pod)
}

/// Returns the paths of the host that a pod's container has at the same path, with their types and whether they can be written.
/// All others are an error.
fn host_paths(pod: &PodSpec) -> Result<Vec<(String, String, bool)>> {
    let mounts: Vec<_> = pod.containers.iter().flat_map(|one| one.volume_mounts.iter().flatten()).collect();
    let volumes = pod.volumes.iter().flatten().filter_map(|one| Some((&one.name, one.host_path.as_ref()?)));
    let shown = volumes.map(|(name, path)| {
        let mount = mounts.iter().find(|mount| mount.name == *name).context("a mount")?;
        ensure!(mount.mount_path == path.path, "{mount:?} shows {path:?}");
        let kind = path.type_.clone().unwrap_or_default();
        Ok((path.path.clone(), kind, mount.read_only != Some(true)))
    });
    shown.collect()
}

fn device() -> (String, String, bool) {
    (TUN.into(), "CharDevice".into(), true)
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_component_sees_the_tunnels_files_of_the_agent_and_no_others() -> Result<()> {
    let control = ControlPlane::start().await?;
    let client = control.client()?;
    let objects = kustomize::built(&["tunnels"])?;
    let texts: Vec<String> = objects.iter().map(serde_yaml::to_string).collect::<Result<_, _>>()?;
    manifest::apply_strictly(&client, &texts.join("---\n")).await?;
    let pod = pod_of(&client, "portreeve", "portreeve-tunnels").await?;
    ensure!(pod.automount_service_account_token == Some(false), "it has a token");
    let container = pod.containers.first().context("a container")?;
    let Role::Gue(args) = Role::try_parse_from(words("portreeve-agent", container))? else {
        anyhow::bail!("another role")
    };
    let files = directory(Path::new(RUN_DIR));
    ensure!(args.dir == files, "{} isn't where the agent writes", args.dir.display());
    let own = (files.to_string_lossy().into_owned(), "DirectoryOrCreate".into(), true);
    let shown = host_paths(&pod)?;
    ensure!(shown == [own, device()], "{shown:?}");
    ensure!(pod.volumes.iter().flatten().count() == shown.len(), "{:?}", pod.volumes);
    Ok(())
}

/// Returns whether a customer's nodes may do this to the objects of a kind of EPIC in a namespace.
async fn customer_may(client: &Client, verb: &str, resource: &str, namespace: &str) -> Result<bool> {
    let asked = ResourceAttributes {
        verb: Some(verb.into()),
        resource: Some(resource.into()),
        group: Some(if resource == "secrets" { "" } else { "epic.acnodal.io" }.into()),
        namespace: Some(namespace.into()),
        ..Default::default()
    };
    let user = Some(CUSTOMER.0.into());
    let spec = SubjectAccessReviewSpec { user, resource_attributes: Some(asked), ..Default::default() };
    let review = SubjectAccessReview { spec, ..Default::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("an answer")?.allowed)
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_example_starts_the_client_which_may_list_and_watch_its_account_alone() -> Result<()> {
    let control = ControlPlane::start().await?;
    let client = control.client()?;
    let example = kustomize::deploy().join("examples/epic-customer");
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": CUSTOMER.1}}))?;
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    for file in ["rights.yaml", "daemonset.yaml"] {
        manifest::apply_strictly(&client, &fs::read_to_string(example.join(file))?).await?;
    }
    for resource in ["loadbalancers", "remoteendpoints", "endpoints"] {
        for verb in ["list", "watch"] {
            let may = || async { customer_may(&client, verb, resource, CUSTOMER.1).await.unwrap_or(false) };
            wait::until(&format!("the right to {verb} {resource}"), BOUND, may).await?;
            ensure!(!customer_may(&client, verb, resource, "epic-other").await?, "{verb} elsewhere");
        }
        for verb in ["create", "update", "patch", "delete"] {
            ensure!(!customer_may(&client, verb, resource, CUSTOMER.1).await?, "{verb} {resource}");
        }
    }
    ensure!(!customer_may(&client, "list", "secrets", CUSTOMER.1).await?, "secrets");

    let pod = pod_of(&client, "gue-client", "gue-client").await?;
    ensure!(pod.automount_service_account_token == Some(false), "it has a token");
    let container = pod.containers.first().context("a container")?;
    ensure!(
        container.image == Some(format!("portreeve/agent:{}", env!("CARGO_PKG_VERSION"))),
        "{container:?}"
    );
    let node = container.env.iter().flatten().find(|variable| variable.name == "NODE_ADDRESS");
    let field = node.and_then(|node| node.value_from.as_ref()?.field_ref.as_ref());
    ensure!(field.is_some_and(|field| field.field_path == "status.hostIP"), "{node:?}");
    // From the environment, as a kubelet sets it.
    let given =
        words("portreeve-agent", container).into_iter().chain(["--node-address=192.0.2.1".to_owned()]);
    let Role::GueClient(args) = Role::try_parse_from(given)? else { anyhow::bail!("another role") };
    ensure!(args.namespace.as_deref() == Some(CUSTOMER.1), "{:?}", args.namespace);
    let kubeconfig = args.kubeconfig.context("--kubeconfig")?;
    let mounts = container.volume_mounts.iter().flatten();
    let mut of_file = mounts.filter(|mount| kubeconfig.parent() == Some(Path::new(&mount.mount_path)));
    let mount = of_file.next().context("the kubeconfig is not mounted")?;
    let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name);
    ensure!(volume.is_some_and(|volume| volume.secret.is_some()), "{volume:?}");
    ensure!(host_paths(&pod)? == [device()], "{:?}", host_paths(&pod)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn example_for_purelb_starts_the_client_of_the_web_service() -> Result<()> {
    let control = ControlPlane::start().await?;
    let client = control.client()?;
    let file = kustomize::deploy().join("examples/epic-customer/purelb.yaml");
    manifest::apply_strictly(&client, &fs::read_to_string(file)?).await?;
    let pod = pod_of(&client, "gue-client", "gue-client").await?;
    let container = pod.containers.first().context("a container")?;
    let given = ["--node-address=192.0.2.1", "--node=customer-1"].map(str::to_owned);
    let given = words("portreeve-agent", container).into_iter().chain(given);
    let Role::GueClient(args) = Role::try_parse_from(given)? else { anyhow::bail!("another role") };
    ensure!(args.namespace.is_none() && args.web.epic_url.is_some(), "{args:?}");
    let mounts: Vec<_> =
        container.volume_mounts.iter().flatten().map(|mount| Path::new(&mount.mount_path)).collect();
    for path in [&args.web.epic_password, &args.web.epic_ca].into_iter().flatten() {
        ensure!(
            path.parent().is_some_and(|parent| mounts.contains(&parent)),
            "{} is not mounted",
            path.display()
        );
    }
    ensure!(host_paths(&pod)? == [device()], "{:?}", host_paths(&pod)?);
    Ok(())
}
