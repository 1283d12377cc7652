//! A copy of the quickstart, or of another example, in its own network, and `portreeve` run there.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_agent::envoy::locate;
use portreeve_tests::envoy::Admin;
use portreeve_tests::family::Family;
use portreeve_tests::netns::Netns;
use portreeve_tests::process::Process;
use portreeve_tests::town::BOUND;
use portreeve_tests::{udp, under_test, wait};
use tempfile::TempDir;

/// A copy of the quickstart, and a network for its fixed ports.
pub struct Quickstart {
    netns: Netns,
    /// Contains `folder` and `run`, and is the directory for temporary files of started processes.
    pub dir: TempDir,
    /// All started processes and their descendants.
    pub family: Family,
}

// === impl Quickstart ===

impl Quickstart {
    pub fn new() -> Result<Self> {
        Self::of("quickstart")
    }

    /// Copies this example.
    pub fn of(example: &str) -> Result<Self> {
        // A short path, because it contains Unix sockets.
        let dir = tempfile::Builder::new().prefix("up-").tempdir()?;
        let copy = Self { netns: Netns::new("up")?, dir, family: Family::new()? };
        fs::create_dir(copy.folder())?;
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples").join(example);
        for entry in fs::read_dir(original)? {
            let entry = entry?;
            fs::copy(entry.path(), copy.folder().join(entry.file_name()))?;
        }
        Ok(copy)
    }

    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    pub fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("folder")
    }

    /// Changes a file of the folder like an editor.
    pub fn edit(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.folder().join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{file} has no {from:?}");
        Ok(fs::write(path, text.replacen(from, to, 1))?)
    }

    pub fn add(&self, file: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.folder().join(file), text)?)
    }

    /// Returns `portreeve <words>` with the folder's path for every `DIR`.
    pub fn portreeve(&self, words: &str) -> Result<Process> {
        Process::spawn("portreeve", &self.command(words)?)
    }

    /// Returns the command without starting it.
    pub fn command(&self, words: &str) -> Result<Command> {
        let mut command = under_test::command_in(&self.netns, "portreeve")?;
        let folder = self.folder().display().to_string();
        command.args(words.split_whitespace().map(|word| word.replace("DIR", &folder)));
        let temporary = self.dir.path().join("tmp");
        fs::create_dir_all(&temporary)?;
        command.env("TMPDIR", temporary).env("NO_COLOR", "1");
        command.env("PORTREEVE_ENVOY", locate(None, &mut |step| eprintln!("{step}"))?);
        self.family.mark(&mut command);
        Ok(command)
    }

    /// Runs the command to its end.
    pub fn finish(&self, words: &str) -> Result<(ExitStatus, String)> {
        let mut process = self.portreeve(words)?;
        let status = process.wait_exit(BOUND * 2)?;
        Ok((status, process.log()))
    }

    /// Starts `portreeve up` in the test's own run directory, and waits until both listeners work.
    pub async fn up(&self) -> Result<Process> {
        let run = self.run_dir().display().to_string();
        let process = self.portreeve(&format!("up DIR --run-dir {run}"))?;
        self.ports(&[17_000, 17_001]).await?;
        Ok(process)
    }

    pub fn run_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("run")
    }

    /// Waits until Envoy listens on exactly these ports.
    pub async fn ports(&self, wanted: &[u16]) -> Result<()> {
        let admin = Admin::new(self.run_dir().join("keepers/gateway/admin.sock"));
        wait::until(&format!("the ports {wanted:?}"), BOUND, || async {
            let Ok(found) = admin.listeners().await else { return false };
            let port = |address: &str| address.rsplit(':').next()?.parse().ok();
            let mut ports: Vec<u16> = found.iter().filter_map(|(_, address)| port(address)).collect();
            ports.sort_unstable();
            ports == wanted && admin.is_ready().await
        })
        .await
    }

    /// Returns the echoes that answer at a port.
    pub fn asked(&self, port: u16) -> Result<String> {
        let socket = udp::socket(&self.netns, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send(b"who")?;
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).with_context(|| format!("port {port} answers nothing"))?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Waits until none of the started processes and their descendants is left.
    pub fn all_gone(&self) -> Result<()> {
        let gone = wait::wait_until("the end of all", BOUND, || self.family.members().is_empty());
        gone.with_context(|| {
            format!("left: {:?}", self.family.members().into_iter().map(title).collect::<Vec<_>>())
        })
    }
}

pub fn title(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " "))
}
