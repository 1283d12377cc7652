//! Load balancers of API C whose Envoys are pods of their own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use portreeve_api::c::load_balancer::LoadBalancer;
use portreeve_api::c::service_group::ServiceGroup;
use portreeve_tests::cluster::{Cluster, Image, PodSite};
use portreeve_tests::greeter::{Greeter, greeting};
use portreeve_tests::netns::Netns;
use portreeve_tests::town::Town;
use portreeve_tests::udp::Echo;
use portreeve_tests::{epic, images, kustomize, manifest, path, wait};
use serde_json::{Value, json};

/// Ports of the customer's pod.
const UDP: u16 = 6000;
const TCP: u16 = 7000;
/// Ports of the load balancer. The first one needs a right or a sysctl.
const PUBLIC: [u16; 2] = [80, 5060];
/// The image of pods without an Envoy.
const IMAGE: &str = "portreeve.test/box:1";
/// Long, because nodes start pods on a busy machine.
const LONG: Duration = Duration::from_secs(120);

const CUSTOMER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: customer, namespace: default}
spec:
  selector: {matchLabels: {app: customer}}
  template:
    metadata: {labels: {app: customer}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: box, image: 'portreeve.test/box:1'}]
";

/// The objects of account `a`: everything but the endpoints.
fn objects(address: IpAddr) -> String {
    let account = epic::account("a", "epic-a") + &epic::group("a", "gold", true);
    epic::pool("192.0.2.0/24", "192.0.2.2-192.0.2.9", "192.0.2.1")
        + &account
        + &epic::load_balancer("a", address, PUBLIC)
}

fn load_balancers(client: &Client) -> Api<LoadBalancer> {
    Api::namespaced(client.clone(), "epic-a")
}

fn deployments(client: &Client) -> Api<Deployment> {
    Api::namespaced(client.clone(), "epic-a")
}

/// Sets the annotation of the load balancer; `None` removes it.
async fn embody(client: &Client, value: Option<&str>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {"portreeve.dev/embodiment": value}}});
    load_balancers(client).patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// Waits until the load balancer's Deployment is what is asked for.
async fn deployment(client: &Client, what: &str, is_it: impl Fn(&Deployment) -> bool) -> Result<Deployment> {
    let api = deployments(client);
    wait::eventually(what, LONG, || async { api.get("envoy-web").await.ok().filter(|found| is_it(found)) })
        .await
}

async fn gone(client: &Client) -> Result<()> {
    let api = deployments(client);
    let gone = || async { api.get_opt("envoy-web").await.is_ok_and(|found| found.is_none()) };
    wait::until("the Deployment to be gone", LONG, gone).await
}

/// Waits until a condition of the load balancer's newest version has this text.
async fn says(client: &Client, type_: &str, with: &str) -> Result<()> {
    let api = load_balancers(client);
    wait::until(&format!("{type_} with {with:?}"), LONG, || async {
        let Ok(found) = api.get("web").await else { return false };
        let conditions = found.status.into_iter().flat_map(|status| status.conditions);
        conditions.into_iter().any(|one| {
            let text = format!("{} {}", one.status, one.message);
            one.type_ == type_ && one.observed_generation == found.metadata.generation && text.contains(with)
        })
    })
    .await
}

fn image_of(of: &Deployment) -> Option<String> {
    let pod = of.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.first()?.image.clone()
}

/// Starts a town with a hub that may create Deployments, and the load balancer with pods of its own.
async fn town() -> Result<Town> {
    let mut town = Town::without_portreeve(1).await?;
    let rights = kustomize::built(&["epic"])?;
    let rights = rights.iter().filter(|object| object["metadata"]["name"] == "portreeve-hub-epic");
    town.apply(&rights.map(document).collect::<String>()).await?;
    town.trust.hub_args.push("--epic-pods".into());
    town.start_hub()?;
    town.apply(&objects(IpAddr::from([192, 0, 2, 7]))).await?;
    embody(&town.client, Some("pod")).await?;
    Ok(town)
}

/// Checks the parts of the Deployment that the API server and other objects decide about.
async fn is_of_the_load_balancer(client: &Client, made: &Deployment) -> Result<()> {
    let template = &made.spec.as_ref().context("a spec")?.template;
    let pod = template.spec.as_ref().context("a pod")?;
    ensure!(pod.containers.len() == 1 && pod.containers[0].name == "envoy-web", "{pod:?}");
    let meta = template.metadata.as_ref().context("metadata")?;
    let network = r#"[{"name":"default","namespace":"epic","ips":["192.0.2.7"]}]"#;
    ensure!(meta.annotations.iter().flatten().any(|(_, value)| value == network), "{meta:?}");
    let owner = load_balancers(client).get("web").await?.uid();
    ensure!(made.owner_references().first().map(|owner| &owner.uid) == owner.as_ref(), "{made:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deployment_follows_the_load_balancer_its_group_and_whoever_changes_it() -> Result<()> {
    let mut town = town().await?;
    let made = deployment(&town.client, "the Deployment", |_| true).await?;
    is_of_the_load_balancer(&town.client, &made).await?;

    // Only a difference is written, also by the next hub.
    town.hub.take().context("no hub")?.kill();
    town.start_hub()?;
    let patch = json!({"spec": {"envoy-image": "example.com/envoy:1"}});
    let groups = Api::<ServiceGroup>::namespaced(town.client.clone(), "epic-a");
    groups.patch("gold", &PatchParams::default(), &Patch::Merge(patch)).await?;
    let with_image = |one: &Deployment| image_of(one).as_deref() == Some("example.com/envoy:1");
    let changed = deployment(&town.client, "the group's image", with_image).await?;
    ensure!((changed.uid(), changed.metadata.generation) == (made.uid(), Some(2)), "{changed:?}");

    let patch = json!({"spec": {"envoy-replica-count": 2}});
    load_balancers(&town.client).patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
    let two = |one: &Deployment| one.spec.as_ref().is_some_and(|spec| spec.replicas == Some(2));
    deployment(&town.client, "two pods", two).await?;
    let patch = json!({"spec": {"replicas": 5}});
    deployments(&town.client).patch("envoy-web", &PatchParams::default(), &Patch::Merge(patch)).await?;
    let restored = |one: &Deployment| two(one) && one.metadata.generation > Some(4);
    deployment(&town.client, "two pods again", restored).await?;
    deployments(&town.client).delete("envoy-web", &DeleteParams::background()).await?;
    let again = |one: &Deployment| one.uid() != made.uid();
    deployment(&town.client, "another Deployment", again).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_end_no_pods_and_another_programs_deployment_is_left_alone() -> Result<()> {
    let town = town().await?;
    deployment(&town.client, "the Deployment", |_| true).await?;
    embody(&town.client, Some("pods")).await?;
    says(&town.client, "Accepted", "must be node or pod, is \"pods\"").await?;
    ensure!(deployments(&town.client).get("envoy-web").await.is_ok(), "a mistake ended the pods");
    embody(&town.client, None).await?;
    gone(&town.client).await?;

    let foreign =
        CUSTOMER.replace("name: customer, namespace: default", "name: envoy-web, namespace: epic-a");
    town.apply(&foreign).await?;
    embody(&town.client, Some("pod")).await?;
    says(&town.client, "Accepted", "no pods are created: Deployment epic-a/envoy-web exists").await?;
    let untouched = deployments(&town.client).get("envoy-web").await?;
    ensure!(image_of(&untouched).as_deref() == Some(IMAGE), "{untouched:?}");
    ensure!(untouched.owner_references().is_empty(), "{untouched:?}");
    town.delete(&foreign).await?;
    deployment(&town.client, "the Deployment in its place", |one| !one.owner_references().is_empty()).await?;
    Ok(())
}

fn document(object: &Value) -> String {
    format!("---\n{object}\n")
}

/// Installs everything with the component, and a customer's pod.
async fn install(cluster: &Cluster) -> Result<PodSite> {
    let images = images::built()?;
    for archive in [&images.hub, &images.agent, &images.gateway, &images.sidecar] {
        cluster.import(archive)?;
    }
    cluster.load(&[Image::busybox(IMAGE)])?;
    let client = cluster.client()?;
    let text: String = kustomize::built(&["epic"])?.iter().map(document).collect();
    let stored = manifest::apply(&client, &text).await?;
    manifest::established(&client, &stored, LONG).await?;
    for (kind, name) in
        [("deployment", "hub"), ("daemonset", "agent"), ("daemonset", "csi"), ("daemonset", "gateway")]
    {
        cluster.rolled_out(kind, "portreeve", &format!("portreeve-{name}"), LONG).await?;
    }
    cluster.apply(CUSTOMER).await?;
    cluster.rolled_out("deployment", "default", "customer", LONG).await?;
    cluster.pods("default", "app=customer").await?.into_iter().next().context("no customer")
}

/// Waits until the customer's pod answers those who come from a network to both ports of this address.
async fn serves(from: &Netns, address: IpAddr, customer: &str) -> Result<()> {
    path::opens(from, SocketAddr::new(address, PUBLIC[1]), customer, LONG)?;
    let to = SocketAddr::new(address, PUBLIC[0]);
    wait::until("a greeting over TCP", LONG, || async {
        greeting(from, to).is_ok_and(|by| by.is_some_and(|(by, _)| by.contains(customer)))
    })
    .await
}

/// Returns the interfaces in a network as the kernel describes them.
fn links(of: &Netns) -> Result<Vec<Value>> {
    let output = of.command("ip").args(["-json", "link"]).output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Waits until the load balancer's status tells this interface.
async fn interface_is(client: &Client, index: &Value, name: &Value) -> Result<()> {
    let api = load_balancers(client);
    wait::until(&format!("proxy-ifindex {index}, proxy-ifname {name}"), LONG, || async {
        let status = api.get("web").await.ok().and_then(|found| found.status).unwrap_or_default();
        (json!(status.proxy_ifindex), json!(status.proxy_ifname)) == (index.clone(), name.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_load_balancer_serve_on_a_real_node_until_gateways_do_or_it_is_deleted() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let client = cluster.client()?;
    let customer = install(&cluster).await?;
    let at = |port| SocketAddr::new(customer.address.into(), port);
    let _echo = Echo::start(&customer.netns, &customer.name, at(UDP))?;
    let _greeter = Greeter::start(&customer.netns, &customer.name, at(TCP))?;
    let node = IpAddr::from(cluster.node(0).address());
    // The node's own address, for the gateways later. It is in no pool, so the pod asks Multus for nothing.
    cluster.apply(&objects(node)).await?;
    cluster.apply(&epic::endpoints("a", customer.address.into(), [TCP, UDP])).await?;
    embody(&client, Some("pod")).await?;
    deployment(&client, "the Deployment", |_| true).await?;
    cluster.rolled_out("deployment", "epic-a", "envoy-web", LONG).await?;
    let own = "app=epic,role=proxy,loadbalancer_cr=web";
    let pod = cluster.pods("epic-a", own).await?.into_iter().next().context("no pod")?;
    serves(cluster.node(0).netns(), pod.address.into(), &customer.name).await?;
    says(&client, "Programmed", "wanted 1, acked 1").await?;
    let end = links(&pod.netns)?.into_iter().find(|link| link["ifname"] == "eth0").context("no eth0")?;
    let leads = |link: &Value| link["ifindex"] == end["link_index"];
    let link = links(cluster.node(0).netns())?.into_iter().find(leads).context("nothing leads there")?;
    interface_is(&client, &link["ifindex"], &link["ifname"]).await?;

    cluster.apply(GATEWAY).await?;
    embody(&client, None).await?;
    gone(&client).await?;
    cluster.pods_gone("epic-a", own, LONG).await?;
    serves(cluster.outside(), node, &customer.name).await?;
    interface_is(&client, &Value::Null, &Value::Null).await?;

    embody(&client, Some("pod")).await?;
    cluster.rolled_out("deployment", "epic-a", "envoy-web", LONG).await?;
    let patch = json!({"spec": {"upstream-clusters": []}});
    load_balancers(&client).patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
    load_balancers(&client).delete("web", &DeleteParams::background()).await?;
    gone(&client).await?;
    cluster.pods_gone("epic-a", own, LONG).await
}

/// The NodeProxy of the shipped gateways, with the label that the group selects.
const GATEWAY: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: gateway}
spec:
  nodeSelector: {kubernetes.io/os: linux}
  labels: {app: envoy-ingress}
  allowedNamespaces: {from: All}
";
