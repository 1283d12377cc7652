//! The messages of `portreeve up` about unavailable ports, directories and Envoys, with a folder in its own network.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use nix::sys::socket::sockopt::ReusePort;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use portreeve_agent::envoy::locate;
use portreeve_tests::family::Family;
use portreeve_tests::netns::Netns;
use portreeve_tests::process::Process;
use portreeve_tests::town::BOUND;
use portreeve_tests::{under_test, wait};
use tempfile::TempDir;

const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: here}
---
apiVersion: portreeve.dev/v1alpha1
kind: NodeProxy
metadata: {name: gateway}
spec: {labels: {app: gateway}}
---
apiVersion: servicemesh.l7mp.io/v1
kind: VirtualService
metadata: {name: call, namespace: default}
spec:
  selector: {app: gateway}
  listeners:
    - name: l
      udp:
        port: 17000
        cluster:
          name: c
          service_discovery: strictdns
          endpoints: [{name: e, host: {address: 127.0.0.1}, port: 19000}]
";

/// A folder, and a network for its port.
struct Folder {
    netns: Netns,
    /// Contains the folder `objects` and run directories.
    dir: TempDir,
    /// All started processes and their descendants.
    family: Family,
}

// === impl Folder ===

impl Folder {
    fn new() -> Result<Self> {
        // A short path, because it contains Unix sockets.
        let dir = tempfile::Builder::new().prefix("ut-").tempdir()?;
        fs::create_dir(dir.path().join("objects"))?;
        fs::write(dir.path().join("objects/all.yaml"), OBJECTS)?;
        Ok(Self { netns: Netns::new("ut")?, dir, family: Family::new()? })
    }

    /// Returns the command `portreeve up` with this run directory.
    fn up(&self, run: &str, more: &[&str]) -> Result<Process> {
        let mut command = under_test::command_in(&self.netns, "portreeve")?;
        command.arg("up").arg(self.dir.path().join("objects")).args(more);
        command.arg("--run-dir").arg(self.dir.path().join(run)).env("NO_COLOR", "1");
        command.env("PORTREEVE_ENVOY", locate(None, &mut |step| eprintln!("{step}"))?);
        self.family.mark(&mut command);
        Process::spawn(run, &command)
    }

    /// Ends it, and waits until no process is left.
    fn end(self, mut last: Process) -> Result<()> {
        last.terminate()?;
        last.wait_exit(BOUND)?;
        wait::wait_until("the end of all", BOUND, || self.family.members().is_empty())
    }
}

/// Opens a socket as another Envoy of the same user would.
fn sharing_socket() -> Result<OwnedFd> {
    let made = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&made, ReusePort, &true)?;
    bind(made.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 17_000))?;
    Ok(made)
}

/// Returns its output after `from` bytes, without line breaks.
fn said(process: &Process, from: usize) -> String {
    process.log()[from..].split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn says(process: &Process, from: usize, word: &str) -> Result<()> {
    wait::until(word, BOUND, || async { said(process, from).contains(word) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn port_that_another_process_has_is_not_active_until_it_is_free() -> Result<()> {
    let folder = Folder::new()?;
    let stranger = folder.netns.enter(sharing_socket)??;
    let up = folder.up("run", &[])?;
    let own = format!("udp port 17000 is in use by process {} (", std::process::id());
    says(&up, 0, &format!("not served: {own}")).await?;
    ensure!(!said(&up, 0).contains(" active "), "{}", up.log());
    drop(stranger);
    says(&up, 0, " active ").await?;
    // The kernel would give half of the senders to a process that joins the port.
    let (seen, stranger) = (up.log().len(), folder.netns.enter(sharing_socket)??);
    says(&up, seen, &format!("shared: {own}")).await?;
    let seen = up.log().len();
    drop(stranger);
    says(&up, seen, " active ").await?;
    folder.end(up)
}

#[tokio::test(flavor = "multi_thread")]
async fn second_folder_does_not_share_the_port_of_the_first_and_has_it_afterwards() -> Result<()> {
    let folder = Folder::new()?;
    let mut first = folder.up("one", &[])?;
    says(&first, 0, " active ").await?;
    let second = folder.up("two", &[])?;
    says(&second, 0, "not served: udp port 17000 is in use by process").await?;
    ensure!(!said(&second, 0).contains(" active "), "{}", second.log());
    first.terminate()?;
    first.wait_exit(BOUND)?;
    says(&second, 0, " active ").await?;
    folder.end(second)
}

#[tokio::test(flavor = "multi_thread")]
async fn run_directory_has_one_user_at_a_time_and_the_second_is_told_who() -> Result<()> {
    let folder = Folder::new()?;
    let first = folder.up("run", &[])?;
    says(&first, 0, " active ").await?;
    let mut second = folder.up("run", &[])?;
    let status = second.wait_exit(BOUND)?;
    let holder = format!("is in use by process {} (", first.pid());
    let told = said(&second, 0);
    ensure!(
        !status.success() && told.contains(&holder) && told.contains("choose another --run-dir"),
        "{told}"
    );
    let seen = first.log().len();
    ensure!(said(&first, seen).is_empty(), "{}", first.log());
    folder.end(first)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_that_hangs_at_its_start_is_told_in_the_table_and_by_the_check() -> Result<()> {
    let folder = Folder::new()?;
    let envoy = folder.dir.path().join("envoy");
    fs::write(&envoy, "#!/bin/sh\necho waiting for a licence >&2\nexec sleep 600\n")?;
    fs::set_permissions(&envoy, fs::Permissions::from_mode(0o755))?;
    let envoy = envoy.display().to_string();
    let up = folder.up("run", &["--envoy", &envoy])?;
    let mut check = folder.up("check", &["--check", "--check-timeout", "20", "--envoy", &envoy])?;
    let word = "was started more than 10 s ago and has not connected to the agent";
    says(&up, 0, word).await?;
    ensure!(said(&up, 0).contains("its log says: waiting for a licence"), "{}", up.log());
    let status = check.wait_exit(BOUND * 3)?;
    ensure!(!status.success() && said(&check, 0).contains(word), "{}", check.log());
    folder.end(up)
}
