//! The disk of a node: a directory with the configuration and the data of its programs ([`Disk`]).

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

/// The network of all nodes' pods.
const PODS: &str = "10.244.0.0/16";
/// The image of the process that holds a pod's namespaces.
pub(super) const PAUSE: &str = "portreeve.test/pause:1";
/// The programs that write a log.
const LOGS: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];

/// Prefix of every disk's name, followed by random letters.
const PREFIX: &str = "portreeve-node-";
/// The lock file, locked while the disk is in use.
const LOCK: &str = "lock";

/// A node's disk, removed on drop. Because images make it large, the next test removes the disk of a killed one.
pub(super) struct Disk {
    directory: TempDir,
    /// Marks the disk as used for tests that remove leftovers.
    _lock: Flock<File>,
}

/// Returns the network of one node's pods.
pub(super) fn pods(number: u8) -> String {
    format!("10.244.{number}.0/24")
}

// === impl Disk ===

impl Disk {
    /// Creates a disk for the node with this number. `limits` tells whether its containers can have limits.
    pub(super) fn new(number: u8, limits: bool) -> Result<Self> {
        sweep(&std::env::temp_dir());
        let directory = TempDir::with_prefix(PREFIX)?;
        // Created under another name first, because a disk with an unlocked lock file counts as a killed test's.
        let unlocked = directory.path().join("lock.unfinished");
        let lock =
            Flock::lock(File::create(&unlocked)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        fs::rename(unlocked, directory.path().join(LOCK))?;
        let disk = Self { directory, _lock: lock };
        fs::create_dir(disk.path().join("log"))?;
        disk.write("init.sh", include_str!("init.sh"))?;
        let (runtime, kubelet) =
            if limits { ("", "") } else { (RUNTIME_WITHOUT_LIMITS, KUBELET_WITHOUT_LIMITS) };
        disk.write("containerd.toml", &(containerd() + runtime))?;
        disk.write("runc", include_str!("runc.py"))?;
        fs::set_permissions(disk.path().join("runc"), Permissions::from_mode(0o755))?;
        disk.write("cni.conflist", &cni(number))?;
        disk.write("kubelet.yaml", &(KUBELET.to_owned() + kubelet))?;
        disk.write("proxy.yaml", &proxy())?;
        Ok(disk)
    }

    /// Returns the path on the machine. On the node it is `/run/node`.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the kubeconfigs that the node's kubelet and proxy wait for.
    pub(super) fn admit(&self, kubelet: &Path, proxy: &Path) -> Result<()> {
        fs::copy(proxy, self.path().join("proxy.kubeconfig"))?;
        // Written under another name first, because the node waits for the file.
        let unfinished = self.path().join("kubeconfig.unfinished");
        fs::copy(kubelet, &unfinished)?;
        Ok(fs::rename(unfinished, self.path().join("kubeconfig"))?)
    }

    /// Returns the programs' logs, each with its name.
    pub(super) fn logs(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let directory = self.path().join("log");
        LOGS.iter().map(move |name| (*name, directory.join(name)))
    }

    /// Returns the kubelet's directory of container logs, with a directory `<namespace>_<name>_<uid>` per pod.
    pub(super) fn pod_logs(&self) -> PathBuf {
        self.path().join("changes/var/log/pods")
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path().join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

/// Removes the disks of killed tests.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let Some(lock) = ours.then(|| File::open(entry.path().join(LOCK)).ok()).flatten() else { continue };
        if Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The configuration of Debian's containerd with default paths. A process without CAP_SYS_RESOURCE can't lower an OOM
/// score.
fn containerd() -> String {
    format!(
        "version = 2\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = \"{PAUSE}\"\n\
         restrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
         bin_dir = \"/usr/lib/cni\"\n"
    )
}

/// See `runc.py`.
const RUNTIME_WITHOUT_LIMITS: &str = "\
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]
runtime_type = \"io.containerd.runc.v2\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]
BinaryName = \"/run/node/runc\"
";

/// A bridge. Without hairpin mode, a pod can't reach itself through its Service.
fn cni(number: u8) -> String {
    let pods = pods(number);
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
    "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{pods}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}
"#
    )
}

/// The kubelet's server has no authentication, because only the node's own network reaches it. Nothing is evicted for a
/// full disk, because the disk is the machine's. Leases are short, so that a dead node is noticed within seconds.
const KUBELET: &str = "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
resolvConf: /run/resolv.conf
clusterDNS: [10.77.0.1]
clusterDomain: cluster.local
nodeStatusUpdateFrequency: 1s
nodeLeaseDurationSeconds: 4
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
shutdownGracePeriod: 0s
";

/// Without cgroups for pods, which the kubelet couldn't create.
const KUBELET_WITHOUT_LIMITS: &str = "\
cgroupsPerQOS: false
enforceNodeAllocatable: []
";

/// The connection table's limits belong to the machine, so they are left unchanged.
fn proxy() -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
         kind: KubeProxyConfiguration\n\
         mode: iptables\n\
         clusterCIDR: {PODS}\n\
         clientConnection: {{kubeconfig: /run/node/proxy.kubeconfig}}\n\
         iptables: {{minSyncPeriod: 100ms}}\n\
         conntrack: {{maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_of_a_killed_test_is_removed_and_no_other() {
        let (dead, alive) = (TempDir::with_prefix(PREFIX).unwrap(), Disk::new(1, true).unwrap());
        sweep(&std::env::temp_dir());
        assert!(dead.path().is_dir(), "one that is not locked yet is being made");
        fs::write(dead.path().join(LOCK), "").unwrap();
        sweep(&std::env::temp_dir());
        assert!(!dead.path().exists() && alive.path().is_dir());
    }
}
