//! A gateway in a pod, with another user than its agent, and a process of the gateway's user that opens the same port.
//! As in the shipped installation, the agent can't read the files of either.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use nix::sys::socket::sockopt::ReusePort;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use nix::unistd::{Uid, setfsuid};
use portreeve_api::a::virtual_service::VirtualService;
use portreeve_tests::cgroup::Container;
use portreeve_tests::envoy::Admin;
use portreeve_tests::process::Process;
use portreeve_tests::town::{BOUND, Town};
use portreeve_tests::udp::Echo;
use portreeve_tests::virtual_service::{Host, Service, said};
use portreeve_tests::{path, under_test, wait};

/// The gateways' users, one for each test, which no other process on the system uses. If an unknown pod had the same
/// user, there might be a proxy in it.
const USERS: [u32; 2] = [47_101, 47_102];
const NAMESPACE: &str = "portreeve";
const ACCOUNT: &str = "portreeve-gateway";
/// Ports of the gateway, and of the application behind it.
const PORT: u16 = 5001;
const OTHER: u16 = 5002;
const APP: u16 = 6000;
/// As in the shipped container: the capability in the program's file is effective, and no other can be obtained.
const KEEPERS_RIGHTS: [&str; 8] = [
    "--inh-caps",
    "+net_bind_service",
    "--ambient-caps",
    "+net_bind_service",
    "--bounding-set",
    "-all,+net_bind_service",
    "--no-new-privs",
    "--",
];
/// Long enough for several checks by the agent.
const LOOKS: Duration = Duration::from_secs(4);

/// A town of one node, with a gateway in a pod.
struct Scene {
    town: Town,
    user: u32,
    /// Programs that every user may run: the programs under test, with the shipped capability in their file, and Envoy.
    program: PathBuf,
    envoy: PathBuf,
    _app: Echo,
}

/// A pod with a keeper.
struct Gateway {
    dir: PathBuf,
    _keeper: Process,
    _container: Container,
}

/// A process of the gateway's user with a socket.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Copies a program so that every user may run it.
fn copy(program: &Path, directory: &Path) -> Result<PathBuf> {
    let copied = directory.join(program.file_name().context("a file")?);
    fs::copy(program, &copied)?;
    fs::set_permissions(&copied, fs::Permissions::from_mode(0o755))?;
    Ok(copied)
}

/// Opens a socket as the gateway's user whose port its Envoy can open too.
fn sharing_socket(user: u32, port: u16) -> Result<OwnedFd> {
    // Only this thread changes its user. It ends once the socket exists.
    setfsuid(Uid::from_raw(user));
    let made = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&made, ReusePort, &true)?;
    bind(made.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))?;
    Ok(made)
}

// === impl Scene ===

impl Scene {
    async fn start(user: u32) -> Result<Self> {
        let mut town = Town::without_portreeve(1).await?;
        town.agent_args.extend(["--gateways".into(), format!("{NAMESPACE}/{ACCOUNT}")]);
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(town.dir(), open.clone())?;
        fs::create_dir(&town.nodes[0].run_dir)?;
        fs::set_permissions(&town.nodes[0].run_dir, open)?;
        let program = copy(&under_test::binary()?, town.dir())?;
        let given = Command::new("setcap").arg("cap_net_bind_service+p").arg(&program).status();
        ensure!(given.context("setcap (libcap2-bin)")?.success(), "no capabilities in {}", program.display());
        let envoy = copy(town.envoy(), town.dir())?;
        town.start_hub()?;
        town.start_confined_agent(0)?;
        town.gateways_wanted().await?;
        let worker = town.worker(1, 1, "app: old", false).await?;
        let app = Echo::start(&worker.netns, "old", SocketAddr::new(worker.ip(), APP))?;
        Ok(Self { town, user, program, envoy, _app: app })
    }

    /// Starts a gateway's pod with the rights of the shipped one.
    async fn gateway(&self, name: &str) -> Result<Gateway> {
        self.town
            .apply(&format!(
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n  \
                 annotations: {{portreeve.dev/node-proxy: gateway}}\n\
                 spec: {{nodeName: n1, hostNetwork: true, serviceAccountName: {ACCOUNT}, \
                 containers: [{{name: gateway, image: i}}]}}\n"
            ))
            .await?;
        let pods = Api::<Pod>::namespaced(self.town.client.clone(), NAMESPACE);
        let uid = pods.get(name).await?.uid().context("a stored pod without uid")?;
        let cgroups = self.town.cgroups.as_ref().context("this test needs cgroups that it may write")?;
        let container = cgroups.container(&uid)?;
        let dir = self.town.dir().join(name);
        fs::create_dir(&dir)?;
        chown(&dir, Some(self.user), Some(self.user))?;
        let node = &self.town.nodes[0];
        let mut command = container.command(&node.netns, Path::new("setpriv"));
        let user = self.user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).args(KEEPERS_RIGHTS);
        command.arg(&self.program).args(["agent", "gateway", "--proxy", "gateway"]).arg("--dir").arg(&dir);
        command.arg("--agent-socket").arg(node.run_dir.join("agent.sock"));
        command.arg("--envoy").arg(&self.envoy);
        let keeper = Process::spawn(name, &command)?;
        Ok(Gateway { dir, _keeper: keeper, _container: container })
    }

    /// Gives the gateway a listener on this port, in an object named after the port.
    async fn want(&self, port: u16) -> Result<()> {
        let hosts = [Host::Pods("app: old")];
        let service = Service::new(&format!("s{port}"), "app: envoy-ingress").udp("l", port, &hosts, APP);
        self.town.apply(&service.yaml()).await
    }

    /// Starts a process of the gateway's user on a port.
    fn stranger(&self, port: u16) -> Result<Stranger> {
        let socket = self.town.nodes[0].netns.enter(|| sharing_socket(self.user, port))??;
        let user = self.user.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "sleep", "600"]);
        Ok(Stranger(command.stdin(Stdio::from(socket)).spawn()?))
    }

    fn leads(&self) -> Result<()> {
        let at = SocketAddr::new(self.town.nodes[0].address(), PORT);
        println!("{}", path::opens(self.town.bed.root(), at, "old", BOUND)?);
        Ok(())
    }

    /// Checks that no conflict is reported for the object during several checks by the agent.
    async fn silence(&self, when: &str) -> Result<()> {
        self.programmed(PORT).await?;
        match self.told(PORT, ("a word", LOOKS), |words| words.contains("in use")).await {
            Ok(words) => anyhow::bail!("{when}: {words}"),
            Err(_) => Ok(()),
        }
    }

    async fn programmed(&self, port: u16) -> Result<()> {
        said(&self.town.client, &format!("s{port}"), ("Programmed", "True"), BOUND).await.map(drop)
    }

    /// Waits until this conflict is reported for the object of a port. The error contains the last message.
    async fn told(
        &self,
        port: u16,
        wait: (&str, Duration),
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let api = Api::<VirtualService>::namespaced(self.town.client.clone(), "default");
        let mut last = None;
        let found = wait::seen(api, wait::named(&format!("s{port}")), wait, |object| {
            let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
            let failed = conditions.find(|one| one.type_ == "Programmed" && one.status == "False");
            last = failed.map(|failed| failed.message.clone());
            last.clone().filter(|words| is_meant(words))
        })
        .await;
        found.with_context(|| format!("it is not in {last:?}"))
    }

    /// Checks that the stranger on a port is named. `beside`: the gateway has its own socket there.
    async fn named(&self, stranger: &Stranger, port: u16, beside: bool) -> Result<()> {
        let begun = Instant::now();
        let (process, user) =
            (format!("process {} (sleep)", stranger.0.id()), format!("of user {}", self.user));
        let is_meant = |words: &str| {
            words.contains(&process) && words.contains(&user) && words.contains(" too, which gets") == beside
        };
        let words = self.told(port, (&process, BOUND), is_meant).await;
        let words = words.with_context(|| format!("beside: {beside}"))?;
        println!("named after {:.1?}: {words}", begun.elapsed());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stranger_of_the_gateways_user_is_named_and_the_gateways_own_sockets_are_not() -> Result<()> {
    let mut scene = Scene::start(USERS[0]).await?;
    let first = scene.gateway("gateway-0").await?;
    scene.want(PORT).await?;
    scene.leads()?;
    scene.silence("at first").await?;
    // The process shares the port, and the kernel would give it some of the senders.
    let stranger = scene.stranger(PORT)?;
    scene.named(&stranger, PORT, true).await?;
    drop(stranger);
    scene.silence("without it").await?;
    // The next agent finds the sockets before any keeper is attached to it.
    scene.town.nodes[0].agent.take().context("no agent")?.kill();
    scene.town.start_confined_agent(0)?;
    scene.silence("after the agent's restart").await?;
    // Another pod's Envoy takes over. Both Envoys have the sockets for a while.
    let second = scene.gateway("gateway-1").await?;
    let hot = Admin::new(second.dir.join("admin.sock"));
    wait::until("a hot restart", BOUND, || async {
        hot.stat("server.hot_restart_epoch").await.is_ok_and(|epoch| epoch == 1)
    })
    .await?;
    scene.silence("across a hot restart").await?;
    let stranger = scene.stranger(PORT)?;
    scene.named(&stranger, PORT, true).await?;
    drop((first, second, stranger));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn port_of_a_stranger_of_the_gateways_user_is_not_opened_until_it_is_free() -> Result<()> {
    let scene = Scene::start(USERS[1]).await?;
    let pod = scene.gateway("gateway-0").await?;
    let gateway = Admin::new(pod.dir.join("admin.sock"));
    gateway.wait_ready(BOUND).await?;
    // The agent checks once a second: it has seen the first socket if it knows a later one.
    let stranger = scene.stranger(PORT)?;
    scene.want(OTHER).await?;
    scene.programmed(OTHER).await?;
    let later = scene.stranger(OTHER)?;
    scene.named(&later, OTHER, true).await?;
    scene.want(PORT).await?;
    scene.named(&stranger, PORT, false).await?;
    let listeners = gateway.listeners().await?;
    ensure!(listeners.iter().all(|(name, _)| name.contains("s5002")), "it was opened: {listeners:?}");
    drop((stranger, later));
    scene.leads()?;
    scene.programmed(PORT).await
}
