//! Images for nodes, created without external tools: an [`Image`] has files of this machine in one layer, and is
//! written as an archive in the format of `docker save`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::archive::Archive;

/// Path of busybox, for tests that need a shell or a small server in a pod.
pub const BUSYBOX: &str = "/usr/bin/busybox";
/// A shell command that ends immediately when asked to, and reaps the orphans of a shared process namespace.
const WAITING: &str = "trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait; done";

/// An image that can be extended and written.
#[derive(Debug, Clone)]
pub struct Image {
    /// Name with a domain and a tag. It is never pulled from a registry.
    name: String,
    /// The default command.
    command: Vec<String>,
    /// The default user.
    user: String,
    /// The content, by absolute path.
    entries: BTreeMap<String, Entry>,
}

/// The content at a path of an image.
#[derive(Debug, Clone)]
enum Entry {
    /// A copy of a file of this machine, with its permissions.
    Copy(PathBuf),
    /// A symbolic link.
    Link(String),
    /// An empty directory with these permissions.
    Directory(u32),
}

/// A writer that also computes a hash.
struct Hashed<W> {
    out: W,
    hash: Sha256,
}

// === impl Image ===

impl Image {
    /// Creates an image with only `/tmp`. A name is for example `portreeve.test/agent:1`.
    pub fn new(name: &str) -> Self {
        let entries = BTreeMap::from([("/tmp".to_owned(), Entry::Directory(0o1777))]);
        Self { name: name.to_owned(), command: Vec::new(), user: String::new(), entries }
    }

    /// Creates an image of busybox with links for some of its tools. It waits until it is ended.
    pub fn busybox(name: &str) -> Self {
        let tools =
            ["sh", "sleep", "nc", "httpd", "cat", "echo", "grep", "ls", "wget", "id", "hostname", "nslookup"];
        let image = Self::new(name).copy(Path::new(BUSYBOX), "/bin/busybox");
        let image = tools.iter().fold(image, |image, tool| image.link("busybox", &format!("/bin/{tool}")));
        image.command(&["/bin/sh", "-c", WAITING])
    }

    /// Adds a copy of a file.
    pub fn copy(mut self, from: &Path, to: &str) -> Self {
        self.entries.insert(to.to_owned(), Entry::Copy(from.to_owned()));
        self
    }

    /// Adds a symbolic link.
    pub fn link(mut self, target: &str, at: &str) -> Self {
        self.entries.insert(at.to_owned(), Entry::Link(target.to_owned()));
        self
    }

    /// Adds an empty directory.
    pub fn directory(mut self, at: &str, mode: u32) -> Self {
        self.entries.insert(at.to_owned(), Entry::Directory(mode));
        self
    }

    /// Adds a program of this machine with its libraries (as listed by `ldd`), each at the same path as here.
    ///
    /// # Errors
    /// Returns an error if the program or a library is missing.
    pub fn program(self, from: &Path, to: &str) -> Result<Self> {
        ensure!(from.is_file(), "there is no {}", from.display());
        let told = Command::new("ldd").arg(from).output().context("running ldd (libc-bin)")?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        ensure!(!told.contains("not found"), "{}: {told}", from.display());
        let libraries = libraries(&told);
        Ok(libraries.iter().fold(self.copy(from, to), |image, path| image.copy(Path::new(path), path)))
    }

    /// Sets the default command: the program and its arguments.
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(ToString::to_string).collect();
        self
    }

    /// Sets the default user as `uid:gid`. Default: root.
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// Returns an error if a file can't be read, a path is longer than 99 letters, or the archive can't be written.
    pub fn write(&self, to: &Path) -> Result<()> {
        let mut layer = tempfile::tempfile()?;
        let digest = self.layer(&mut layer).with_context(|| format!("the image {}", self.name))?;
        layer.rewind()?;
        let config = self.config(&digest);
        let manifest = json!([{"Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"]}]);
        let mut archive = Archive::new(BufWriter::new(File::create(to)?));
        for (name, value) in [("config.json", config), ("manifest.json", manifest)] {
            let text = value.to_string();
            archive.file(name, 0o644, (text.len() as u64, text.as_bytes()))?;
        }
        archive.file("layer.tar", 0o644, (layer.metadata()?.len(), layer))?;
        archive.finish()?;
        Ok(())
    }

    /// Writes the layer, and returns its digest.
    fn layer(&self, to: &mut File) -> Result<String> {
        let mut layer = Archive::new(Hashed { out: BufWriter::new(to), hash: Sha256::new() });
        for parent in self.parents() {
            layer.directory(parent.trim_start_matches('/'), 0o755)?;
        }
        for (path, entry) in &self.entries {
            let path = path.trim_start_matches('/');
            match entry {
                Entry::Copy(from) => copy(&mut layer, from, path)?,
                Entry::Link(target) => layer.link(path, target)?,
                Entry::Directory(mode) => layer.directory(path, *mode)?,
            }
        }
        let hashed = layer.finish()?;
        Ok(hashed.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the parent directories of entries that are not entries themselves, upper ones first.
    fn parents(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for path in self.entries.keys() {
            let above = path.match_indices('/').filter(|(at, _)| *at > 0).map(|(at, _)| &path[..at]);
            found.extend(above.filter(|parent| !self.entries.contains_key(*parent)));
        }
        found
    }

    fn config(&self, digest: &str) -> serde_json::Value {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": self.command, "User": self.user, "Env": [path], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        })
    }
}

// === impl Hashed ===

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Adds a file, following links.
fn copy(layer: &mut Archive<impl Write>, from: &Path, to: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let file = File::open(from).with_context(|| from.display().to_string())?;
    let metadata = file.metadata()?;
    let size = metadata.len();
    layer.file(to, metadata.permissions().mode() & 0o7777, (size, file.take(size)))
}

/// Returns the paths in the output of `ldd`: `name => /path (address)` or `/path (address)`.
fn libraries(told: &str) -> Vec<String> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    told.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_where_ldd_says() {
        let told = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f12)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f34)\n";
        assert_eq!(libraries(told), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }

    #[test]
    fn the_digest_is_of_the_layer_in_the_archive() {
        let directory = tempfile::tempdir().unwrap();
        let (archive, layer) = (directory.path().join("image.tar"), directory.path().join("layer.tar"));
        let image = Image::new("portreeve.test/x:1").copy(Path::new("/etc/passwd"), "/etc/deep/passwd");
        assert_eq!(image.parents().into_iter().collect::<Vec<_>>(), ["/etc", "/etc/deep"]);
        image.write(&archive).unwrap();
        let tar =
            Command::new("tar").current_dir(directory.path()).arg("-xf").arg(&archive).status().unwrap();
        assert!(tar.success());
        let digest = Sha256::digest(std::fs::read(layer).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let config = std::fs::read_to_string(directory.path().join("config.json")).unwrap();
        assert!(config.contains(&digest), "{config}");
    }
}
