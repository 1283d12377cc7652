//! The manifests in `deploy/`: built by kustomize, accepted by a real API server that rejects unknown fields, and
//! consistent with the programs that they start.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};
use k8s_openapi::api::storage::v1::CSIDriver;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DynamicObject, PostParams};
use kube::{Api, Client};
use portreeve_agent::roles::{GatewayArgs, ProbeArgs};
use portreeve_agent::run::RunArgs;
use portreeve_api::names::HUB_NAME;
use portreeve_api::pod::NODE_PROXY_ANNOTATION;
use portreeve_csi::{self as csi, CsiArgs, CsiProbeArgs};
use portreeve_hub::kinds;
use portreeve_hub::run::Args as HubArgs;
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::{definitions, kustomize, manifest, wait};

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(40);
/// The namespace of all objects.
const NAMESPACE: &str = "portreeve";

#[derive(Parser)]
enum Agent {
    Run(Box<AgentRun>),
    Gateway(GatewayArgs),
    Probe(ProbeArgs),
    Csi(CsiArgs),
    CsiProbe(CsiProbeArgs),
}

#[derive(Args)]
struct AgentRun {
    #[command(flatten)]
    args: RunArgs,
}

/// Returns a container's command line, with variables replaced as by a kubelet.
pub fn words(program: &str, container: &Container) -> Vec<String> {
    let given = container.args.iter().flatten().map(|word| word.replace("$(POD_NAME)", "pod-1"));
    std::iter::once(program.to_owned()).chain(given).collect()
}

/// Checks the security context of a container. `rights` are its allowed capabilities.
pub fn is_confined<'a>(pod: &'a PodSpec, rights: &[&str]) -> Result<&'a Container> {
    let [container] = pod.containers.as_slice() else {
        anyhow::bail!("one container, not {:?}", pod.containers)
    };
    let context = container.security_context.as_ref().context("a security context")?;
    ensure!(context.read_only_root_filesystem == Some(true), "its root can be written");
    ensure!(context.allow_privilege_escalation == Some(false), "it may get more rights");
    let dropped = context.capabilities.as_ref().and_then(|caps| caps.drop.clone()).unwrap_or_default();
    let added = context.capabilities.as_ref().and_then(|caps| caps.add.clone()).unwrap_or_default();
    ensure!(dropped == ["ALL"] && added == rights, "capabilities: {context:?}");
    let seccomp = pod.security_context.as_ref().and_then(|context| context.seccomp_profile.clone());
    ensure!(seccomp.is_some_and(|profile| profile.type_ == "RuntimeDefault"), "seccomp");
    Ok(container)
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_taken_by_a_strict_server_and_start_what_the_programs_understand() -> Result<()> {
    let control = ControlPlane::start().await?;
    let client = control.client()?;
    let stored = manifest::apply_strictly(&client, &kustomize::text(&kustomize::deploy())?).await?;
    manifest::established(&client, &stored, BOUND).await?;
    println!("{} objects", stored.len());

    let hub = Api::<Deployment>::namespaced(client.clone(), NAMESPACE).get("portreeve-hub").await?;
    let hub = hub.spec.and_then(|spec| spec.template.spec).context("a pod")?;
    let container = is_confined(&hub, &[])?;
    ensure!(
        hub.security_context.as_ref().is_some_and(|context| context.run_as_non_root == Some(true)),
        "the hub is root"
    );
    let args = HubArgs::try_parse_from(words("portreeve-hub", container))?;
    let ports: Vec<i32> = container.ports.iter().flatten().map(|port| port.container_port).collect();
    let admin = args.admin.context("--admin")?;
    ensure!(ports == [i32::from(args.listen.port()), i32::from(admin.port())], "{ports:?}");

    let agent = Api::<DaemonSet>::namespaced(client.clone(), NAMESPACE).get("portreeve-agent").await?;
    surges(&agent)?;
    let agent = agent.spec.and_then(|spec| spec.template.spec).context("a pod")?;
    let container = is_confined(&agent, &[])?;
    let mut given = words("portreeve-agent", container);
    // From the environment, as a kubelet sets it.
    given.push("--node=n1".into());
    let Agent::Run(run) = Agent::try_parse_from(given)? else { anyhow::bail!("another role") };
    let hub = run.args.hub.first().context("--hub")?;
    ensure!(hub.port_u16() == Some(args.listen.port()) && hub.scheme_str() == Some("https"), "{hub}");
    let mounted: Vec<&str> =
        container.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect();
    for path in [&run.args.run_dir, run.args.state_dir.as_ref().context("--state-dir")?] {
        ensure!(mounted.iter().any(|mount| path == Path::new(mount)), "{} is no mount", path.display());
    }
    let own = run.args.probe_socket.as_ref().context("--probe-socket")?;
    for probe in [&container.liveness_probe, &container.readiness_probe] {
        let given = exec(probe.as_ref())?;
        let Agent::Probe(probe) = Agent::try_parse_from(given)? else { anyhow::bail!("another role") };
        ensure!(probe.socket == *own, "{probe:?}");
    }
    for file in [&run.args.hub_ca, &run.args.hub_token, own] {
        ensure!(mounted.iter().any(|mount| file.parent() == Some(Path::new(mount))), "{}", file.display());
    }

    let gateway = Api::<DaemonSet>::namespaced(client.clone(), NAMESPACE).get("portreeve-gateway").await?;
    is_gateway(&gateway, &run.args)?;

    let driver = Api::<DaemonSet>::namespaced(client.clone(), NAMESPACE).get("portreeve-csi").await?;
    is_driver(&driver, &run.args)?;
    let object = Api::<CSIDriver>::all(client).get(csi::NAME).await?.spec;
    ensure!(object.volume_lifecycle_modes.as_deref() == Some(&["Ephemeral".to_owned()]), "{object:?}");
    ensure!((object.pod_info_on_mount, object.attach_required) == (Some(true), Some(false)), "{object:?}");
    ensure!(object.fs_group_policy.as_deref() == Some("None"), "{object:?}");
    Ok(())
}

/// Returns whether the hub may do this to the objects of a kind, `<plural>.<group>`, in all namespaces.
async fn hub_may(client: &Client, verb: &str, kind: &str) -> Result<bool> {
    let (resource, group) = kind.split_once('.').unwrap_or((kind, ""));
    let asked = ResourceAttributes {
        verb: Some(verb.into()),
        resource: Some(resource.into()),
        group: Some(group.into()),
        ..Default::default()
    };
    let user = Some(format!("system:serviceaccount:{NAMESPACE}:portreeve-hub"));
    let spec = SubjectAccessReviewSpec { user, resource_attributes: Some(asked), ..Default::default() };
    let review = SubjectAccessReview { spec, ..Default::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("an answer")?.allowed)
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_may_look_at_what_it_serves_and_may_not_read_reports_or_secrets() -> Result<()> {
    let control = ControlPlane::start().await?;
    let client = control.client()?;
    manifest::apply_strictly(&client, &kustomize::text(&kustomize::deploy())?).await?;
    let kinds = kinds::ALL.map(|row| {
        let resource = (row.resource)();
        format!("{}.{}", resource.plural, resource.group)
    });
    for kind in ["pods", "nodes", "namespaces"].into_iter().chain(kinds.iter().map(String::as_str)) {
        for verb in ["list", "watch"] {
            let may = || async { hub_may(&client, verb, kind).await.unwrap_or(false) };
            wait::until(&format!("the right to {verb} {kind}"), BOUND, may).await?;
        }
        // Those that customers order and release by the hub's web service.
        let is_ordered = ["loadbalancers.epic.acnodal.io", "remoteendpoints.epic.acnodal.io"].contains(&kind);
        ensure!(hub_may(&client, "delete", kind).await? == is_ordered, "the hub's right to delete {kind}");
    }
    for kind in ["nodereports.portreeve.dev", "secrets", "configmaps"] {
        for verb in ["get", "list", "watch"] {
            ensure!(!hub_may(&client, verb, kind).await?, "the hub may {verb} {kind}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn components_are_taken_by_a_strict_server_that_has_the_kinds_of_their_projects() -> Result<()> {
    let control = ControlPlane::start().await?;
    let client = control.client()?;
    let kinds = manifest::apply(&client, &definitions::text()?).await?;
    manifest::established(&client, &kinds, BOUND).await?;
    let objects = kustomize::built(&["prometheus", "cert-manager"])?;
    let texts: Vec<String> = objects.iter().map(serde_yaml::to_string).collect::<Result<_, _>>()?;
    let text = texts.join("---\n");
    for (right, wrong) in
        [("relabelings:", "relabeling:"), ("for: 2m", "for: 2 minutes"), ("issuerRef:", "issuer:")]
    {
        ensure!(text.contains(right), "nobody says {right}");
        let taken = manifest::apply_strictly(&client, &text.replacen(right, wrong, 1)).await;
        ensure!(taken.is_err(), "{wrong} was taken for {right}");
    }
    let stored = manifest::apply_strictly(&client, &text).await?;
    for kind in ["PodMonitor", "PrometheusRule", "Issuer", "Certificate"] {
        let of_kind = |object: &DynamicObject| object.types.as_ref().is_some_and(|types| types.kind == kind);
        ensure!(stored.iter().any(of_kind), "no {kind}");
    }
    println!("{} objects", stored.len());
    Ok(())
}

/// Checks that a DaemonSet replaces each pod by a surge, and that the pods allow that.
fn surges(set: &DaemonSet) -> Result<()> {
    let spec = set.spec.as_ref().context("a specification")?;
    let update = spec.update_strategy.as_ref().and_then(|update| update.rolling_update.clone());
    let update = update.context("surge")?;
    let surge = update.max_surge.as_ref().is_some_and(|surge| *surge != IntOrString::Int(0));
    ensure!(surge && update.max_unavailable == Some(IntOrString::Int(0)), "{update:?}");
    let pod = spec.template.spec.as_ref().context("a pod")?;
    let ports = pod.containers.iter().flat_map(|container| container.ports.iter().flatten());
    ensure!(ports.count() == 0, "a declared port: no second pod fits on the node");
    Ok(())
}

/// Returns the command of a probe.
fn exec(probe: Option<&Probe>) -> Result<Vec<String>> {
    probe.and_then(|probe| probe.exec.as_ref()?.command.clone()).context("a probe by a command")
}

/// Checks that a DaemonSet runs the CSI driver for the socket of an agent with `args`, and that only the necessary
/// mounts propagate to the host.
fn is_driver(set: &DaemonSet, args: &RunArgs) -> Result<()> {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).context("a pod")?;
    let [container] = pod.containers.as_slice() else { anyhow::bail!("{:?}", pod.containers) };
    ensure!(pod.host_network.is_none() && pod.host_pid.is_none(), "{pod:?}");
    ensure!(pod.automount_service_account_token == Some(false), "the driver has a token");
    let context = container.security_context.as_ref().context("a security context")?;
    ensure!(
        (context.privileged, context.read_only_root_filesystem) == (Some(true), Some(true)),
        "{context:?}"
    );
    let given = words("portreeve-agent", container).into_iter().chain(["--node=n1".to_owned()]);
    let Agent::Csi(driver) = Agent::try_parse_from(given)? else { anyhow::bail!("another role") };
    ensure!(driver.run_dir == args.run_dir, "another directory than the agent's");
    let probes = [&container.liveness_probe, &container.readiness_probe];
    for probe in probes {
        let given = exec(probe.as_ref())?;
        let Agent::CsiProbe(probe) = Agent::try_parse_from(given)? else { anyhow::bail!("another role") };
        ensure!(probe.kubelet_dir == driver.kubelet_dir, "{probe:?}");
    }
    let mounts: Vec<_> = container.volume_mounts.iter().flatten().collect();
    let at = |path: &Path| mounts.iter().find(|mount| Path::new(&mount.mount_path) == path);
    let shared = mounts.iter().filter(|mount| mount.mount_propagation.is_some());
    let shared: Vec<&str> = shared.map(|mount| mount.mount_path.as_str()).collect();
    ensure!(shared == [driver.kubelet_dir.join("pods").to_string_lossy()], "{shared:?}");
    let run = at(&driver.run_dir).context("the agent's directory is not mounted")?;
    ensure!(run.read_only == Some(true), "the driver could replace the agent's socket");
    for file in [csi::endpoint(&driver.kubelet_dir), csi::registration::socket(&driver.kubelet_dir)] {
        ensure!(file.parent().and_then(at).is_some(), "{} is no mount", file.display());
    }
    // The driver's path is the same as the kubelet's.
    let paths = pod.volumes.iter().flatten().map(|volume| (&volume.name, &volume.host_path));
    let moved = paths.filter(|(name, path)| {
        let mount = mounts.iter().find(|mount| &mount.name == *name).map(|mount| &mount.mount_path);
        mount != path.as_ref().map(|path| &path.path)
    });
    ensure!(moved.count() == 0, "{pod:?}");
    Ok(())
}

/// Checks that a DaemonSet runs the gateway pods of an agent with `args`, and can replace each by a surge.
fn is_gateway(set: &DaemonSet, args: &RunArgs) -> Result<()> {
    surges(set)?;
    let spec = set.spec.as_ref().context("a specification")?;
    let pod = spec.template.spec.as_ref().context("a pod")?;
    let container = is_confined(pod, &["NET_BIND_SERVICE"])?;
    ensure!(pod.host_network == Some(true) && pod.host_pid.is_none(), "{pod:?}");
    let user = pod.security_context.as_ref().context("a user")?;
    ensure!((user.run_as_non_root, user.run_as_user) == (Some(true), Some(101)), "{user:?}");
    let account = format!("{NAMESPACE}/{}", pod.service_account_name.as_deref().unwrap_or_default());
    ensure!(
        args.gateways.as_ref().map(ToString::to_string) == Some(account),
        "another account than the agent's"
    );
    let annotations =
        spec.template.metadata.as_ref().and_then(|meta| meta.annotations.clone()).unwrap_or_default();
    let proxy = annotations.get(NODE_PROXY_ANNOTATION).context("it names no NodeProxy")?;
    let given = words("portreeve-agent", container).into_iter().chain([format!("--proxy={proxy}")]);
    let Agent::Gateway(gateway) = Agent::try_parse_from(given)? else { anyhow::bail!("another role") };
    let mounts: Vec<_> = container.volume_mounts.iter().flatten().collect();
    let at = |path: &Path| mounts.iter().find(|mount| Path::new(&mount.mount_path) == path);
    ensure!(at(&gateway.dir).is_some() && at(Path::new("/dev/shm")).is_some(), "{mounts:?}");
    let socket = gateway.agent_socket.parent().and_then(at).context("the agent's socket is not mounted")?;
    ensure!(socket.read_only == Some(true), "a gateway could replace the agent's socket");
    ensure!(gateway.agent_socket.parent() == Some(&args.run_dir), "another socket than the agent's");
    Ok(())
}

#[test]
fn certificates_of_cert_manager_are_where_hubs_and_agents_look() -> Result<()> {
    let objects = kustomize::built(&["cert-manager"])?;
    let one = |kind: &str, name: &str| {
        let mut found =
            objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.next().with_context(|| format!("no {kind} {name}"))
    };
    let certificate = &one("Certificate", "portreeve-hub")?["spec"];
    ensure!(certificate["dnsNames"] == serde_json::json!([HUB_NAME]), "{certificate}");
    let hub: Deployment = serde_json::from_value(one("Deployment", "portreeve-hub")?.clone())?;
    let hub = hub.spec.and_then(|spec| spec.template.spec).context("a pod")?;
    let container = is_confined(&hub, &[])?;
    let args = HubArgs::try_parse_from(words("portreeve-hub", container))?;
    let mount = container.volume_mounts.iter().flatten().next().context("no mount")?;
    for (file, given) in [("tls.crt", args.tls.tls_cert), ("tls.key", args.tls.tls_key)] {
        ensure!(given == Some(Path::new(&mount.mount_path).join(file)), "{file}");
    }
    let agent: DaemonSet = serde_json::from_value(one("DaemonSet", "portreeve-agent")?.clone())?;
    let agent = agent.spec.and_then(|spec| spec.template.spec).context("a pod")?;
    let secret = |pod: &PodSpec, name: &str| {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == name)?;
        volume.secret.clone().filter(|_| volume.config_map.is_none())
    };
    let (tls, authority) =
        (secret(&hub, &mount.name).context("tls")?, secret(&agent, "hub-ca").context("hub-ca")?);
    ensure!(
        tls.secret_name == authority.secret_name
            && certificate["secretName"] == tls.secret_name.as_deref().unwrap_or_default()
    );
    let shown: Vec<String> = authority.items.into_iter().flatten().map(|item| item.path).collect();
    ensure!(shown == ["ca.crt"], "an agent sees {shown:?}");
    Ok(())
}

#[test]
fn workers_that_migrate_get_a_sidecar_and_their_controllers_the_clients_role() -> Result<()> {
    let example = kustomize::deploy().join("examples/migration");
    let objects = kustomize::objects(&kustomize::text(&example)?)?;
    let of = |kind: &str| {
        objects.iter().find(|object| object["kind"] == kind).with_context(|| format!("no {kind}"))
    };
    let pod = &of("Deployment")?["spec"]["template"]["spec"];
    ensure!(pod["initContainers"][0]["restartPolicy"] == "Always", "no sidecar in {pod}");
    let role = &of("RoleBinding")?["roleRef"]["name"];
    let roles = std::fs::read_to_string(example.join("../../rbac/client.yaml"))?;
    ensure!(roles.contains(&format!("name: {}", role.as_str().unwrap_or_default())), "{role}");
    let proxy: serde_json::Value =
        serde_yaml::from_str(&std::fs::read_to_string(example.join("node-proxy.yaml"))?)?;
    let ingress = std::fs::read_to_string(example.join("../seed-a/ingress.yaml"))?;
    let label = proxy["spec"]["labels"]["app"].as_str().context("a label")?;
    ensure!(ingress.contains(&format!("app: {label}")), "the sample selects another label than {label}");
    Ok(())
}
