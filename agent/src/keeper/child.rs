//! Starting Envoy so that it cannot outlive its keeper.

use std::fs;
use std::io;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::{Child, Command};

use crate::envoy::locate::is_executable;
use crate::envoy::{args, base_id};

use super::dir::{Dir, replace};
use super::spec::Spec;

/// The running binary, also when its file was replaced by an upgrade meanwhile.
const OWN_BINARY: &str = "/proc/self/exe";
const SOCKETS: &str = "/proc/net/unix";

/// Writes the bootstrap and starts Envoy through the role `launch`; the process, and the base id it was given.
///
/// The kernel kills Envoy when the *thread* that started it ends, so this runs on the keeper's only thread.
pub(super) fn spawn(dir: &Dir, spec: &Spec, preferred: Option<u32>) -> anyhow::Result<(Child, u32)> {
    let executable = is_executable(&spec.envoy).with_context(|| spec.envoy.display().to_string())?;
    anyhow::ensure!(executable, "{} is not an executable file", spec.envoy.display());
    let bootstrap = spec.bootstrap(dir).render()?;
    replace(&dir.bootstrap(), format!("{bootstrap:#}\n").as_bytes())
        .with_context(|| dir.bootstrap().display().to_string())?;
    remove_if_there(&dir.admin()).with_context(|| dir.admin().display().to_string())?;
    let sockets = fs::read_to_string(SOCKETS).context(SOCKETS)?;
    let key = dir.path().to_string_lossy();
    let base_id = base_id::choose(&sockets, &key, preferred).context("no base id is free")?;
    let log = dir.open_log(&dir.envoy_log()).with_context(|| dir.envoy_log().display().to_string())?;
    let arguments =
        args::arguments(&dir.bootstrap(), base_id, spec.concurrency, spec.drain_s, &spec.extra_args);
    let child = Command::new(OWN_BINARY)
        .args(["launch", "--parent", &std::process::id().to_string(), "--"])
        .arg(&spec.envoy)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting the launcher")?;
    Ok((child, base_id))
}

/// Removes the shared memory that an Envoy of epoch 0 leaves behind.
pub(super) fn remove_shared_memory(base_id: u32) -> io::Result<()> {
    remove_if_there(format!("/dev/shm/envoy_shared_memory_{}", u64::from(base_id) * 10).as_ref())
}

fn remove_if_there(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
