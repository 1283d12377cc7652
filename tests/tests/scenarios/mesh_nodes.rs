//! NodeProxies that are l7mp proxies: run by the nodes' agents, and configured by objects of `l7mp.io`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portreeve_api::keeper_state::State;
use portreeve_api::own::node_proxy::NodeProxy;
use portreeve_tests::l7mp;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::Echo;
use portreeve_tests::wait;

use crate::mesh::{User, programmed, service};

/// An l7mp on every node, with its API at another port than the default.
const PROXY: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: mesh}
spec:
  nodeSelector: {role: gateway}
  labels: {app: gateway}
  l7mp: {apiPort: 1299, strict: true}
---
";

/// Returns a VirtualService that leads a port of the NodeProxies to a Service.
fn virtual_service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: l7mp.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  \
         selector: {{matchLabels: {{app: gateway}}}}\n  udp: {{port: {port}}}\n  options: {{removeOrphanSessions: true}}\n  rules: [{{action: {{route: \
         {{destination: worker-svc, retry: {{retry_on: always, num_retries: 20, timeout: 250}}}}}}}}]\n---\n"
    )
}

/// Waits until the NodeProxy runs on this number of nodes, and returns why it doesn't on others.
async fn ready(town: &Town, nodes: i32) -> Result<String> {
    let api = Api::<NodeProxy>::all(town.client.clone());
    let what = format!("an l7mp on {nodes} nodes");
    wait::seen(api, wait::named("mesh"), (&what, BOUND), |proxy: &NodeProxy| {
        let status = proxy.status.as_ref().filter(|status| status.ready == Some(nodes))?;
        let is = |one: &&Condition| one.type_ == "Programmed" && one.reason != "Pending";
        status.conditions.iter().find(is).map(|one| format!("{}: {}", one.reason, one.message))
    })
    .await
}

/// Sends until an answer comes.
async fn answered(user: &User, to: SocketAddr) -> Result<()> {
    wait::until(&format!("an answer from {to}"), BOUND, || async {
        user.send(to, "hello").is_ok()
            && user
                .hear_all(Duration::from_millis(200))
                .is_ok_and(|heard| heard.iter().any(|text| text.contains("worker")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn l7mp_of_a_node_serves_a_mesh_object_and_comes_back_with_it() -> Result<()> {
    let mut town = Town::without_portreeve(2).await?;
    let script = l7mp::script()?.display().to_string();
    town.start_hub()?;
    town.start_agent(1)?;
    town.agent_args = vec!["--l7mp".into(), script];
    town.start_agent(0)?;
    let worker = town.worker(2, 2, "app: worker", false).await?;
    let _echo = Echo::start(&worker.netns, "worker", SocketAddr::new(worker.ip(), 9999))?;
    town.apply(PROXY).await?;
    let told = ready(&town, 1).await?;
    println!("{told}");
    ensure!(told.starts_with("NotRunning: runs on 1 of 2 nodes, fails on 1; node n2: the agent has no l7mp"));
    // The second agent's next process has one.
    town.nodes[1].agent.as_mut().context("an agent")?.kill();
    town.start_agent(1)?;
    println!("{}", ready(&town, 2).await?);

    town.apply(&[service("worker-svc", "app: worker", 9999), virtual_service("call", 9001)].concat()).await?;
    programmed(&town, &["call"], &[]).await?;
    let user = User::new(&town, 9005)?;
    let at = |town: &Town, port| [0, 1].map(|index| SocketAddr::new(town.nodes[index].address(), port));
    for to in at(&town, 9001) {
        answered(&user, to).await?;
    }
    // A proxy that dies is started again, and gets what it had.
    for node in &town.nodes {
        let state = std::fs::read(node.run_dir.join("keepers/mesh/state.json"))?;
        let state: State = serde_json::from_slice(&state)?;
        let pid = i32::try_from(state.envoy_pid.context("a process")?)?;
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    for to in at(&town, 9001) {
        answered(&user, to).await?;
    }
    town.apply(&virtual_service("other", 9002)).await?;
    town.delete(&virtual_service("call", 9001)).await?;
    for to in at(&town, 9002) {
        answered(&user, to).await?;
    }
    let [old, _] = at(&town, 9001);
    wait::until("the old port's end", BOUND, || async {
        user.send(old, "hello").is_ok()
            && user.hear_all(Duration::from_millis(200)).is_ok_and(|heard| heard.is_empty())
    })
    .await?;
    town.delete(PROXY).await?;
    wait::until("the end of the proxies", BOUND, || async { town.descendants_with("keep").is_empty() }).await
}
