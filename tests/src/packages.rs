//! Programs from Debian packages that tests need in addition to the toolchains ([`need`]).
//!
//! Packages are only installed if the machine's owner allows it with `PORTREEVE_TEST_INSTALL=1`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use crate::assets;

/// The environment variable that allows the installation.
const CONSENT: &str = "PORTREEVE_TEST_INSTALL";

/// A program (its name on the path or its absolute path), and its Debian package.
pub type Wanted<'a> = (&'a str, &'a str);

/// Makes sure that these programs exist, and installs the packages of missing ones.
///
/// # Errors
/// Returns an error if a program is missing, and installing is not allowed, not possible for this user, or failed. The
/// message contains the command that would install it.
pub fn need(wanted: &[Wanted<'_>]) -> Result<()> {
    if missing(wanted).is_empty() {
        return Ok(());
    }
    let lock = File::create(assets::cache_dir()?.join("packages.lock"))?;
    let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let packages = missing(wanted);
    if packages.is_empty() {
        return Ok(());
    }
    let allowed = std::env::var_os(CONSENT).is_some_and(|value| value == "1");
    if !allowed || !Uid::effective().is_root() {
        bail!("{}", refusal(&packages));
    }
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages.as_slice()].concat())?;
    ensure!(missing(wanted).is_empty(), "installed, and still not there: {:?}", missing(wanted));
    Ok(())
}

/// Returns the packages of the missing programs, each once.
fn missing<'a>(wanted: &[Wanted<'a>]) -> Vec<&'a str> {
    let absent = wanted.iter().filter(|(program, _)| !is_there(program));
    let mut packages: Vec<&str> = absent.map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    program.starts_with('/') && Path::new(program).exists()
        || std::env::split_paths(&path).chain(system).any(|directory| directory.join(program).is_file())
}

fn refusal(packages: &[&str]) -> String {
    let packages = packages.join(" ");
    format!(
        "this test needs the packages {packages}: run, as root, `apt-get install --no-install-recommends {packages}`, or have \
         the tests do it: `{CONSENT}=1 cargo test --workspace` as root"
    )
}

fn apt(words: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let done = command.output()?;
    ensure!(done.status.success(), "apt-get {}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once_with_the_command() {
        let wanted =
            [("sh", "dash"), ("no-such-1", "nothing"), ("/no/such/file", "nothing"), ("/proc/self", "none")];
        assert_eq!(missing(&wanted), ["nothing"]);
        let text = refusal(&missing(&wanted));
        assert!(text.contains("`apt-get install --no-install-recommends nothing`"), "{text}");
        assert!(text.contains("`PORTREEVE_TEST_INSTALL=1 cargo test --workspace`"), "{text}");
    }
}
