//! The documented examples of the l7mp mesh, on real l7mp proxies of two agents: VirtualServices, Targets and Routes of
//! `l7mp.io` in the document's spelling.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use portreeve_api::b::MeshStatus;
use portreeve_api::b::rule::Rule;
use portreeve_api::b::target::Target;
use portreeve_api::b::virtual_service::VirtualService;
use portreeve_tests::json_socket::Transcoder;
use portreeve_tests::l7mp::{Proxy, Settings};
use portreeve_tests::town::{BOUND, Town, Worker};
use portreeve_tests::udp::{self, Echo};
use portreeve_tests::wait;
use serde_json::json;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// How long a user waits for a datagram. A lost handshake of JSONSocket costs a retry of two seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a user sends a datagram whose session is being set up.
const TRIES: usize = 6;

/// A pod with a container `l7mp`.
pub struct Pod {
    pub worker: Worker,
    pub proxy: Proxy,
}

impl Pod {
    /// Starts pod `j` of node `i`.
    pub async fn start(town: &Town, i: u8, j: u8, labels: &str) -> Result<Self> {
        let worker = town.mesh_worker(i, j, labels).await?;
        let proxy = Proxy::start(&worker.netns, Settings { strict: true, ..Settings::default() })?;
        Ok(Self { worker, proxy })
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.worker.ip(), port)
    }
}

/// A user's socket on another host.
pub struct User(UdpSocket);

impl User {
    pub fn new(town: &Town, port: u16) -> Result<Self> {
        let root = town.bed.root();
        let socket = udp::socket(root, SocketAddr::new(root.v4(), port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    pub fn send(&self, to: SocketAddr, text: &str) -> Result<()> {
        self.0.send_to(text.as_bytes(), to)?;
        Ok(())
    }

    /// Returns the next datagram; `None` if none comes.
    pub fn hear(&self) -> Option<String> {
        let mut buffer = [0; 1500];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Returns every datagram that comes within a time.
    pub fn hear_all(&self, within: Duration) -> Result<Vec<String>> {
        self.0.set_read_timeout(Some(within))?;
        let heard = std::iter::from_fn(|| self.hear()).collect();
        self.0.set_read_timeout(Some(PATIENCE))?;
        Ok(heard)
    }
}

pub fn service(name: &str, labels: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{selector: {{{labels}}}, ports: [{{port: {port}, protocol: UDP}}]}}\n---\n"
    )
}

pub fn object(kind: &str, name: &str, spec: serde_json::Value) -> String {
    let meta = json!({"name": name, "namespace": "default"});
    let object = json!({"apiVersion": "l7mp.io/v1", "kind": kind, "metadata": meta, "spec": spec});
    format!("{object}\n---\n")
}

/// Waits until an object has a condition, and returns its message.
pub async fn told<K>(town: &Town, name: &str, wanted: (&str, &str)) -> Result<String>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + kube::core::object::HasStatus<Status = MeshStatus>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let api = Api::<K>::namespaced(town.client.clone(), "default");
    let what = format!("{wanted:?} of {name}");
    wait::seen(api, wait::named(name), (&what, BOUND), |object: &K| {
        let conditions = object.status().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let is = |one: &&Condition| (one.type_.as_str(), one.status.as_str()) == wanted;
        conditions.iter().find(is).map(|one| format!("{}: {}", one.reason, one.message))
    })
    .await
}

pub async fn programmed(town: &Town, virtual_services: &[&str], targets: &[&str]) -> Result<()> {
    for name in virtual_services {
        println!("{name}: {}", told::<VirtualService>(town, name, ("Programmed", "True")).await?);
    }
    for name in targets {
        println!("{name}: {}", told::<Target>(town, name, ("Programmed", "True")).await?);
    }
    Ok(())
}

/// A Unix domain socket that sends back what it gets.
fn unix_echo(path: &Path) -> Result<JoinSet<()>> {
    let listener = UnixListener::bind(path)?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut clients = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (mut read, mut write) = stream.into_split();
            clients.spawn(async move { tokio::io::copy(&mut read, &mut write).await });
        }
    });
    Ok(task)
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_the_first_example_pass_a_websocket_and_a_unix_socket() -> Result<()> {
    let town = Town::start(2).await?;
    let gateway = Pod::start(&town, 1, 1, "app: gateway").await?;
    let _transcoder = Pod::start(&town, 2, 1, "app: transcoder").await?;
    let worker = town.worker(2, 2, "app: worker", false).await?;
    let echo = Echo::start(&worker.netns, "worker", SocketAddr::new(worker.ip(), 9999))?;
    let socket = town.dir().join("echo.sock");
    let _echoes = unix_echo(&socket)?;
    let from = town.bed.root().v4();
    let objects = [
        service("gateway-svc", "app: gateway", 9001),
        service("worker-svc", "app: worker", 9999),
        object(
            "VirtualService",
            "transcoder-vsvc",
            json!({
                "selector": {"matchLabels": {"app": "transcoder"}},
                "websocket": {"port": 8888},
                "rules": [{"action": {"route": {"destination": {"unixdomainsocket": {"filename": socket}}}}}],
            }),
        ),
        object(
            "VirtualService",
            "gateway-vsvc",
            json!({
                "selector": {"serviceName": "gateway-svc"},
                "udp": {"port": 9001},
                "rules": [{
                    "match": {"op": "and", "apply": [
                        {"op": "test", "path": "/IP/src_addr", "value": from.to_string()},
                        {"op": "more", "path": "/UDP/src_port", "value": 8999},
                        {"op": "less", "path": "/UDP/src_port", "value": 9100},
                    ]},
                    "action": {"route": {"destination": "worker-svc", "ingress": ["transcoder-vsvc"]}},
                }],
            }),
        ),
    ];
    town.apply(&objects.concat()).await?;
    programmed(&town, &["transcoder-vsvc", "gateway-vsvc"], &[]).await?;

    let user = User::new(&town, 9005)?;
    for number in 0..10 {
        user.send(gateway.at(9001), &format!("datagram {number}"))?;
        let answer = user.hear().with_context(|| format!("datagram {number} is not answered"))?;
        ensure!(answer.contains("worker"), "{answer}");
    }
    println!("{:?}", echo.seen());
    let stranger = User::new(&town, 8005)?;
    stranger.send(gateway.at(9001), "not from a port of the rule")?;
    ensure!(stranger.hear().is_none(), "the rule admits ports 9000 to 9099 only");
    Ok(())
}

/// The objects of the second example, without calls. The gateways retry this number of times, with this timeout in
/// milliseconds; in the document 3 times 2,000.
pub fn second_example(retries: u32, timeout: u32) -> String {
    [
        service("gateway-svc", "app: gateway", 8001),
        service("worker-svc", "app: worker", 19_000),
        object(
            "Target",
            "worker-target",
            json!({
                "selector": {"serviceName": "gateway-svc"}, "serviceName": "worker-vsvc",
                "loadbalancer": {"policy": "ConsistentHash", "key": "/labels/session_id"},
            }),
        ),
        object(
            "Route",
            "gateway-route",
            json!({
                "destination": "worker-target", "retry": {"retry_on": "always", "num_retries": retries, "timeout": timeout},
            }),
        ),
        object(
            "Target",
            "sync-target",
            json!({
                "selector": {"serviceName": "worker-svc"}, "sync": {"query": "/labels/session_id"},
            }),
        ),
        object(
            "Target",
            "transcoder-target",
            json!({
                "selector": {"serviceName": "worker-svc"}, "jsonsocket": {"transport": {"udp": {"port": 19_001}}},
                "endpoints": [{"spec": {"address": "127.0.0.1"}}],
            }),
        ),
        object(
            "VirtualService",
            "worker-vsvc",
            json!({
                "selector": {"serviceName": "worker-svc"}, "jsonsocket": {"transport": {"udp": {"port": 19_000}}},
                "rules": [{"action": {"route": {"destination": "sync-target", "ingress": ["transcoder-target"]}}}],
            }),
        ),
    ]
    .concat()
}

/// The VirtualService that opens the gateways to a user on the root's host.
pub fn call(town: &Town, name: &str, port: u16) -> String {
    let spec = json!({
        "selector": {"serviceName": "gateway-svc"},
        "udp": {"port": port, "connect": {"address": town.bed.root().v4().to_string(), "port": port}},
        "rules": [{"action": {
            "rewrite": [{"path": "/labels/session_id", "value": "1"}],
            "route": "gateway-route",
        }}],
        "options": {"removeOrphanSessions": true},
    });
    object("VirtualService", name, spec)
}

/// Lets two users join their call, each by datagrams to a gateway.
pub fn join((a, to_a): (&User, SocketAddr), (b, to_b): (&User, SocketAddr)) -> Result<()> {
    for _ in 0..TRIES {
        a.send(to_a, "hello from A")?;
        b.send(to_b, "hello from B")?;
        if a.hear().is_some() && b.hear().is_some() {
            return Ok(());
        }
    }
    anyhow::bail!("the users don't hear each other")
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_second_example_hear_each_other_once() -> Result<()> {
    let town = Town::start(2).await?;
    let gateways =
        [Pod::start(&town, 1, 1, "app: gateway").await?, Pod::start(&town, 2, 1, "app: gateway").await?];
    let workers =
        [Pod::start(&town, 1, 2, "app: worker").await?, Pod::start(&town, 2, 2, "app: worker").await?];
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 19_001);
    let transcoders = workers.iter().map(|pod| Transcoder::start(&pod.worker.netns, local, "t:"));
    let transcoders = transcoders.collect::<Result<Vec<_>>>()?;
    let (a, b) = (User::new(&town, 8001)?, User::new(&town, 8002)?);
    let calls = [("user-a", 8001), ("user-b", 8002)].map(|(name, port)| call(&town, name, port)).concat();
    town.apply(&[second_example(3, 2000), calls.clone()].concat()).await?;
    programmed(
        &town,
        &["worker-vsvc", "user-a", "user-b"],
        &["worker-target", "sync-target", "transcoder-target"],
    )
    .await?;

    let (to_a, to_b) = (gateways[0].at(8001), gateways[1].at(8002));
    join((&a, to_a), (&b, to_b))?;
    a.hear_all(Duration::from_secs(1))?;
    b.hear_all(Duration::from_secs(1))?;
    for number in 0..20 {
        a.send(to_a, &format!("A{number}"))?;
        b.send(to_b, &format!("B{number}"))?;
    }
    let expected = |of: &str| (0..20).map(|number| format!("t:{of}{number}")).collect::<Vec<_>>();
    let (heard_a, heard_b) = (a.hear_all(Duration::from_secs(1))?, b.hear_all(Duration::from_secs(1))?);
    ensure!(heard_a == expected("B"), "A heard {heard_a:?}");
    ensure!(heard_b == expected("A"), "B heard {heard_b:?}");
    let headers: Vec<_> = transcoders.iter().flat_map(Transcoder::headers).collect();
    println!("{headers:?}");
    ensure!(headers.len() == 2 && headers.iter().all(|header| header["labels"]["session_id"] == "1"));

    // The call ends: nothing of it is left on the gateways, and nobody is heard any more.
    town.delete(&calls).await?;
    wait::until("the end of the call", BOUND, || async {
        a.send(to_a, "are you there?").is_ok()
            && a.hear_all(Duration::from_millis(200)).is_ok_and(|heard| heard.is_empty())
    })
    .await?;
    drop(workers);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_for_a_list_that_the_proxy_lacks_is_told() -> Result<()> {
    let town = Town::start(1).await?;
    let _worker = Pod::start(&town, 1, 1, "app: worker").await?;
    let rule = object(
        "Rule",
        "call",
        json!({
            "selector": {"matchLabels": {"app": "worker"}}, "rulelist": "worker-rtp-rulelist", "position": 0,
            "rule": {"action": {"route": {"destination": {"spec": {"Echo": {}}}}}},
        }),
    );
    town.apply(&rule).await?;
    let text = told::<Rule>(&town, "call", ("Programmed", "False")).await?;
    println!("{text}");
    wait::until("the name of the list", BOUND, || async {
        told::<Rule>(&town, "call", ("Programmed", "False"))
            .await
            .is_ok_and(|text| text.contains("worker-rtp-rulelist"))
    })
    .await
}
