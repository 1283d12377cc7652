//! The container images, built by `images/build` from the programs under test. Entry point: [`built`].

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use portreeve_agent::envoy;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::process::run;
use crate::{packages, under_test};

/// The directory of the image descriptions.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../images");

/// The programs that `images/build` uses, and one that strips the programs under test to a tenth of their size.
const TOOLS: [packages::Wanted<'_>; 5] = [
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("flock", "util-linux"),
    ("tar", "tar"),
    ("strip", "binutils"),
];

/// The image archives, in the format for `ctr images import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The hub.
    pub hub: PathBuf,
    /// The agent, without an Envoy.
    pub agent: PathBuf,
    /// The keeper and its Envoy.
    pub gateway: PathBuf,
    /// Envoy alone.
    pub sidecar: PathBuf,
    /// The directory of the programs in the images, `portreeve-hub` and `portreeve-agent`.
    pub programs: PathBuf,
    /// The Envoy in the images.
    pub envoy: PathBuf,
}

// === impl Images ===

impl Images {
    /// Returns the archive of the image with this name.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub fn of(&self, name: &str) -> Result<&Path> {
        match name {
            "hub" => Ok(&self.hub),
            "agent" => Ok(&self.agent),
            "gateway" => Ok(&self.gateway),
            "sidecar" => Ok(&self.sidecar),
            _ => anyhow::bail!("no image {name}"),
        }
    }
}

/// Returns the images of the programs under test, and builds them if necessary (6 s, later 3 s). They are stored next
/// to the programs; images of earlier builds are deleted. Processes wait while another one builds.
///
/// # Errors
/// Returns an error if a tool is missing (see [`packages::need`]), if there is no Envoy, or if the build fails.
pub fn built() -> Result<Images> {
    packages::need(&TOOLS)?;
    let program = under_test::binary()?;
    let envoy = envoy::locate(None, &mut |step| eprintln!("{step}"))?;
    let home = program.parent().context("a directory")?.join("images");
    fs::create_dir_all(&home)?;
    let directory = home.join(key(&program, &envoy)?);
    if !directory.is_dir() {
        let lock = File::create(home.join("lock"))?;
        let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        if !directory.is_dir() {
            make(&program, &envoy, &directory)?;
        }
    }
    let archive = |name: &str| directory.join(name).with_extension("tar");
    Ok(Images {
        hub: archive("hub"),
        agent: archive("agent"),
        gateway: archive("gateway"),
        sidecar: archive("sidecar"),
        programs: directory.join("programs"),
        envoy,
    })
}

/// Returns the command that builds images from these programs into the directory `out`.
pub fn build(programs: &Path, out: &Path) -> Command {
    let mut command = Command::new(Path::new(SOURCES).join("build"));
    command.arg("--programs").arg(programs).arg("--out").arg(out);
    command
}

/// Returns the name, with its tag, of an archive's image.
///
/// # Errors
/// Returns an error if the file is not an archive of one image.
pub fn reference(archive: &Path) -> Result<String> {
    let name = manifest(archive)?["RepoTags"][0].as_str().map(str::to_owned);
    name.with_context(|| format!("{} has no name", archive.display()))
}

/// Returns the manifest of an archive's only image: its names, its configuration's file and the files of its layers.
///
/// # Errors
/// See [`reference()`].
pub fn manifest(archive: &Path) -> Result<Value> {
    let text = member(archive, "manifest.json")?;
    let mut images: Vec<Value> = serde_json::from_str(&text)?;
    ensure!(images.len() == 1, "{} has {} images", archive.display(), images.len());
    Ok(images.remove(0))
}

/// Returns the text of one file of an archive.
///
/// # Errors
/// Returns an error if there is no such file.
pub fn member(archive: &Path, name: &str) -> Result<String> {
    run(Command::new("tar").args(["--extract", "--to-stdout", "--file"]).arg(archive).arg(name))
}

/// Returns the name of a directory that identifies everything the images depend on.
fn key(program: &Path, envoy: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(program)?, &mut hash)?;
    // Envoy has 107 MB, so its path and modification time are hashed instead of its content.
    hash.update(format!("{envoy:?} {:?}", fs::metadata(envoy)?.modified()?));
    let mut sources: Vec<_> = fs::read_dir(SOURCES)?.collect::<Result<_, _>>()?;
    sources.sort_by_key(fs::DirEntry::file_name);
    for source in sources {
        hash.update(fs::read(source.path())?);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Builds under a temporary name and renames, so that a killed build never leaves incomplete images. Deletes the images
/// of earlier builds, which have a third of a gigabyte each.
fn make(program: &Path, envoy: &Path, directory: &Path) -> Result<()> {
    for earlier in fs::read_dir(directory.parent().context("a directory")?)? {
        let earlier = earlier?.path();
        if earlier.is_dir() {
            fs::remove_dir_all(earlier)?;
        }
    }
    let unfinished = directory.with_extension("unfinished");
    let programs = unfinished.join("programs");
    fs::create_dir_all(&programs)?;
    let hub = programs.join("portreeve-hub");
    run(Command::new("strip").arg("-o").arg(&hub).arg(program))?;
    fs::hard_link(&hub, programs.join("portreeve-agent"))?;
    run(build(&programs, &unfinished).arg("--envoy").arg(envoy))?;
    fs::rename(&unfinished, directory)?;
    Ok(())
}
