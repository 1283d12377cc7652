//! The CSI driver for the agent's socket as a separate process, called like a kubelet does: what it mounts, what the
//! host sees of it, and what it refuses. (A real kubelet calls it in `csi.rs`.)

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_csi::proto::registration::registration_client::RegistrationClient;
use portreeve_csi::proto::registration::{InfoRequest, RegistrationStatus};
use portreeve_csi::proto::volume::identity_client::IdentityClient;
use portreeve_csi::proto::volume::node_client::NodeClient;
use portreeve_csi::proto::volume::volume_capability::{AccessType, MountVolume};
use portreeve_csi::proto::volume::{
    GetPluginCapabilitiesRequest, GetPluginInfoRequest, NodeGetCapabilitiesRequest, NodeGetInfoRequest,
    NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
};
use portreeve_csi::{NAME, endpoint, registration};
use portreeve_tests::netns::Netns;
use portreeve_tests::process::{Process, run};
use portreeve_tests::under_test;
use portreeve_tests::wait::wait_until;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(30);
/// Options of the mount, as the kernel shows them.
const RESTRICTED: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];
/// CAP_SYS_ADMIN alone.
const MOUNTING: &str = "0000000000200000";

/// A host with its own mount namespace, and the driver in a container on it. Mounts below the pods' directory propagate
/// to the host, others don't.
struct Host {
    driver: Option<Process>,
    host: Process,
    directory: TempDir,
}

// === impl Host ===

impl Host {
    fn start() -> Result<Self> {
        // Makes this program root, in a user namespace if necessary.
        Netns::new("host")?;
        let directory = TempDir::new()?;
        for below in ["run", "kubelet/pods", "kubelet/plugins_registry"] {
            fs::create_dir_all(directory.path().join(below))?;
        }
        let script =
            "mount --bind \"$0\" \"$0\" && mount --make-shared \"$0\" && echo ready && exec sleep infinity";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        command.arg(directory.path().join("kubelet/pods"));
        let mut host = Process::spawn("host", &command)?;
        host.wait_log("ready", BOUND)?;
        let mut made = Self { driver: None, host, directory };
        made.start_driver()?;
        Ok(made)
    }

    /// Starts the driver in a new container.
    fn start_driver(&mut self) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.host.pid()));
        command.args(["unshare", "--mount", "--propagation", "unchanged"]).arg(under_test::binary()?);
        command.args(["agent", "csi", "--node", "node-1"]).arg("--kubelet-dir").arg(self.kubelet());
        command.arg("--run-dir").arg(self.directory.path().join("run"));
        let mut driver = Process::spawn("driver", &command)?;
        driver.wait_log("serving volumes", BOUND)?;
        self.driver = Some(driver);
        Ok(())
    }

    fn driver(&mut self) -> Result<&mut Process> {
        self.driver.as_mut().context("no driver")
    }

    fn kubelet(&self) -> PathBuf {
        self.directory.path().join("kubelet")
    }

    /// Returns the host's view of a path.
    fn seen(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.host.pid(), path.display()))
    }

    /// Creates the directory that a kubelet creates for a volume, and returns its request to the driver.
    fn volume(&self, uid: &str) -> Result<PathBuf> {
        let directory = self.kubelet().join("pods").join(uid).join("volumes/kubernetes.io~csi/agent");
        fs::create_dir_all(&directory)?;
        Ok(directory.join("mount"))
    }

    /// Returns the options of every mount at a path of the host.
    fn mounts(&self, at: &Path) -> Result<Vec<String>> {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.host.pid()))?;
        let fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let here = fields.filter(|fields| fields.get(4).is_some_and(|place| Path::new(place) == at));
        Ok(here.map(|fields| fields[5].to_owned()).collect())
    }

    async fn channel(path: &Path) -> Result<Channel> {
        Ok(Endpoint::from_shared(format!("unix://{}", path.display()))?.connect().await?)
    }

    async fn node(&self) -> Result<NodeClient<Channel>> {
        Ok(NodeClient::new(Self::channel(&endpoint(&self.kubelet())).await?))
    }

    /// Publishes a volume as a kubelet does.
    async fn publish(&self, at: &Path) -> Result<(), tonic::Status> {
        let mut node = self.node().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        node.node_publish_volume(mk_request(at)).await.map(drop)
    }

    async fn unpublish(&self, at: &Path) -> Result<(), tonic::Status> {
        let mut node = self.node().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let target_path = at.display().to_string();
        let request = NodeUnpublishVolumeRequest { volume_id: "csi-1".into(), target_path };
        node.node_unpublish_volume(request).await.map(drop)
    }

    /// Binds a socket like an agent does: under a temporary name that is then renamed.
    fn bind(&self, number: u8) -> Result<UnixListener> {
        let run = self.directory.path().join("run");
        let unfinished = run.join(format!("agent.{number}"));
        let listener = UnixListener::bind(&unfinished)?;
        fs::rename(unfinished, run.join("agent.sock"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Returns the output of a readiness probe.
    fn probe(&self, words: &[&str]) -> Result<String> {
        let mut command = under_test::command("agent")?;
        run(command.arg("csi-probe").args(words).arg("--kubelet-dir").arg(self.kubelet()))
    }
}

fn mk_request(at: &Path) -> NodePublishVolumeRequest {
    NodePublishVolumeRequest {
        volume_id: "csi-1".into(),
        target_path: at.display().to_string(),
        volume_capability: Some(VolumeCapability { access_type: Some(AccessType::Mount(MountVolume {})) }),
        readonly: true,
        volume_context: HashMap::from([("csi.storage.k8s.io/ephemeral".into(), "true".into())]),
    }
}

/// Returns whether a client has connected since the last call.
fn reached(listener: &UnixListener) -> bool {
    listener.accept().is_ok()
}

#[tokio::test]
async fn a_volume_shows_the_socket_that_is_there_and_can_not_be_written() -> Result<()> {
    let host = Host::start()?;
    let (one, at) = (host.bind(1)?, host.volume("uid-1")?);
    host.publish(&at).await?;
    // A restarted kubelet repeats its request.
    host.publish(&at).await?;
    let mounts = host.mounts(&at)?;
    ensure!(mounts.len() == 1, "{mounts:?}");
    let options: Vec<&str> = mounts[0].split(',').collect();
    ensure!(RESTRICTED.iter().all(|option| options.contains(option)), "the host sees {mounts:?}");

    let socket = host.seen(&at).join("agent.sock");
    UnixStream::connect(&socket)?;
    ensure!(reached(&one), "another socket");
    let other = host.bind(2)?;
    UnixStream::connect(&socket)?;
    ensure!(reached(&other) && !reached(&one), "the former socket");
    let written = fs::write(host.seen(&at).join("agent.sock.2"), "").map_err(|error| error.kind());
    ensure!(written == Err(ErrorKind::ReadOnlyFilesystem), "{written:?}");

    host.unpublish(&at).await?;
    ensure!(host.mounts(&at)?.is_empty() && !host.seen(&at).exists(), "it is still there");
    ensure!(host.directory.path().join("run/agent.sock").exists(), "what was shown is gone");
    // Repeated, also after the kubelet has deleted its own directory.
    host.unpublish(&at).await?;
    fs::remove_dir_all(host.kubelet().join("pods/uid-1"))?;
    host.unpublish(&at).await?;
    Ok(())
}

#[tokio::test]
async fn volumes_outlive_their_driver_and_the_next_one_takes_them_away() -> Result<()> {
    let mut host = Host::start()?;
    let (socket, at) = (host.bind(1)?, host.volume("uid-1")?);
    host.publish(&at).await?;
    host.driver()?.kill();
    UnixStream::connect(host.seen(&at).join("agent.sock"))?;
    ensure!(reached(&socket), "gone with its driver");
    host.start_driver()?;
    host.publish(&at).await?;
    ensure!(host.mounts(&at)?.len() == 1, "{:?}", host.mounts(&at)?);
    let other = host.volume("uid-2")?;
    host.publish(&other).await?;
    host.unpublish(&at).await?;
    ensure!(host.mounts(&at)?.is_empty() && host.mounts(&other)?.len() == 1, "the wrong one went");
    Ok(())
}

#[tokio::test]
async fn what_is_not_the_drivers_is_left_alone() -> Result<()> {
    let host = Host::start()?;
    // A link in the place of the kubelet's directory.
    let at = host.volume("uid-1")?;
    let elsewhere = host.directory.path().join("elsewhere");
    fs::create_dir_all(&elsewhere)?;
    symlink(&elsewhere, &at)?;
    let refused = host.publish(&at).await.err().context("a link is followed")?;
    ensure!(
        refused.code() == Code::FailedPrecondition && refused.message().contains("symbolic"),
        "{refused}"
    );
    let refused = host.unpublish(&at).await.err().context("a link is removed")?;
    ensure!(refused.code() == Code::FailedPrecondition && at.is_symlink(), "{refused}");
    let pods = host.kubelet().join("pods");
    symlink(pods.join("uid-1"), pods.join("uid-2"))?;
    let refused = host.publish(&host.volume("uid-2")?).await.err().context("a link is followed")?;
    ensure!(refused.code() == Code::FailedPrecondition, "{refused}");
    // Another user's files.
    let at = host.volume("uid-3")?;
    fs::create_dir(&at)?;
    fs::write(at.join("file"), "")?;
    let refused = host.publish(&at).await.err().context("files are hidden")?;
    ensure!(refused.code() == Code::FailedPrecondition && refused.message().contains("uid-3"), "{refused}");
    let refused = host.unpublish(&at).await.err().context("files are removed")?;
    ensure!(refused.code() == Code::FailedPrecondition && at.join("file").exists(), "{refused}");
    // An invalid volume.
    let at = host.volume("uid-4")?;
    let request = NodePublishVolumeRequest { readonly: false, ..mk_request(&at) };
    let refused = host.node().await?.node_publish_volume(request).await.err().context("it can be written")?;
    ensure!(
        refused.code() == Code::InvalidArgument && refused.message().contains("readOnly: true"),
        "{refused}"
    );
    ensure!(!at.exists() && fs::read_dir(&elsewhere)?.next().is_none(), "something was made");
    Ok(())
}

#[tokio::test]
async fn the_driver_says_what_it_is_and_has_one_right() -> Result<()> {
    let mut host = Host::start()?;
    let kubelet = host.kubelet();
    let mut identity = IdentityClient::new(Host::channel(&endpoint(&kubelet)).await?);
    let info = identity.get_plugin_info(GetPluginInfoRequest {}).await?.into_inner();
    ensure!(
        (info.name.as_str(), info.vendor_version.as_str()) == (NAME, env!("CARGO_PKG_VERSION")),
        "{info:?}"
    );
    identity.get_plugin_capabilities(GetPluginCapabilitiesRequest {}).await?;
    let node = host.node().await?.node_get_info(NodeGetInfoRequest {}).await?.into_inner();
    ensure!(node.node_id == "node-1", "{node:?}");
    host.node().await?.node_get_capabilities(NodeGetCapabilitiesRequest {}).await?;
    let mut stranger = RegistrationClient::new(Host::channel(&endpoint(&kubelet)).await?);
    let unknown = stranger.get_info(InfoRequest {}).await.err().context("an unknown call is answered")?;
    ensure!(unknown.code() == Code::Unimplemented, "{unknown}");

    let registry = registration::socket(&kubelet);
    let mut registrar = RegistrationClient::new(Host::channel(&registry).await?);
    let info = registrar.get_info(InfoRequest {}).await?.into_inner();
    ensure!((info.r#type.as_str(), info.name.as_str()) == ("CSIPlugin", NAME), "{info:?}");
    ensure!(
        Path::new(&info.endpoint) == endpoint(&kubelet) && info.supported_versions == ["1.0.0"],
        "{info:?}"
    );
    host.probe(&[])?;
    ensure!(host.probe(&["--registered"]).is_err(), "registered before the kubelet said so");
    let status = RegistrationStatus { plugin_registered: true, error: String::new() };
    registrar.notify_registration_status(status).await?;
    host.probe(&["--registered"])?;

    let status = fs::read_to_string(format!("/proc/{}/status", host.driver()?.pid()))?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    ensure!(field("CapEff:") == Some(MOUNTING) && field("CapPrm:") == Some(MOUNTING), "{status}");
    ensure!(field("NoNewPrivs:") == Some("1") && field("CapInh:") == Some("0000000000000000"), "{status}");
    let open = fs::read_dir(kubelet.join("plugins_registry"))?.count();
    ensure!(open == 1, "a kubelet sees {open} plugins");
    host.driver()?.terminate()?;
    ensure!(host.driver()?.wait_exit(BOUND)?.success(), "{}", host.driver()?.log());
    wait_until("the end of the registration", BOUND, || !registry.exists())?;
    ensure!(host.probe(&[]).is_err(), "a driver that has ended answers");
    Ok(())
}

#[test]
fn without_the_right_to_mount_it_says_what_it_needs() -> Result<()> {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_admin"]).arg(under_test::binary()?);
    let refused = run(command.args(["agent", "csi", "--node", "n"])).err().context("it runs")?.to_string();
    ensure!(refused.contains("CAP_SYS_ADMIN") && refused.contains("privileged: true"), "{refused}");
    Ok(())
}
