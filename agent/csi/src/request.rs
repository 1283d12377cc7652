//! Validates a kubelet's requests: a request becomes a [`Target`], or is [`Refused`].

use std::path::{Component, Path, PathBuf};

use crate::proto::volume::volume_capability::AccessType;
use crate::proto::volume::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};

/// Prefix of the kubelet's own keys in a volume's context.
const OF_KUBELET: &str = "csi.storage.k8s.io/";
/// Key that tells whether a volume is defined inline in its pod. The kubelet sets it if the CSIDriver has
/// `podInfoOnMount`.
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

/// The place of a volume: a directory that the kubelet keeps for one volume of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The directory of all pods.
    pub pods: PathBuf,
    /// The volume's directory in it, which the kubelet creates.
    pub parent: PathBuf,
    /// The name of the mount point in that directory.
    pub name: String,
}

/// A request that is invalid for this driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A field that the specification requires is missing.
    #[error("the request has no {0}")]
    Missing(&'static str),
    /// The path isn't of the form that kubelets use.
    #[error(
        "volume {volume}: target_path {path:?} is not {pods}/UID/volumes/kubernetes.io~csi/NAME/mount: \
             start the driver with the --kubelet-dir of this node's kubelet"
    )]
    Elsewhere {
        /// The volume's id.
        volume: String,
        /// The requested path.
        path: String,
        /// The directory of all pods.
        pods: String,
    },
    /// The volume is a PersistentVolume, or the CSIDriver object is wrong.
    #[error(
        "volume {0}: only inline volumes of pods are possible: write `csi: {{driver: csi.portreeve.dev, readOnly: true}}` in \
             the pod's volumes, and see that the CSIDriver csi.portreeve.dev has podInfoOnMount: true"
    )]
    NotInline(String),
    /// The volume is writable.
    #[error(
        "volume {0}: only read-only volumes are possible: write `readOnly: true` beside `driver: csi.portreeve.dev`"
    )]
    Writable(String),
    /// The volume is requested as a block device.
    #[error("volume {0}: it is a directory, and no block device")]
    Block(String),
    /// The volume has unknown volumeAttributes.
    #[error("volume {volume}: the attribute {name:?} means nothing: there are no volumeAttributes")]
    Attribute {
        /// The volume's id.
        volume: String,
        /// The attribute's name.
        name: String,
    },
}

/// Returns the target of a request to mount a volume.
///
/// # Errors
/// Returns the reason why the volume can't exist.
pub fn publish(request: &NodePublishVolumeRequest, kubelet: &Path) -> Result<Target, Refused> {
    let volume = || request.volume_id.clone();
    let target = target(&request.volume_id, &request.target_path, kubelet)?;
    let capability = request.volume_capability.as_ref().ok_or(Refused::Missing("volume_capability"))?;
    match capability.access_type {
        Some(AccessType::Mount(_)) => {}
        Some(AccessType::Block(_)) => return Err(Refused::Block(volume())),
        None => return Err(Refused::Missing("access_type")),
    }
    if request.volume_context.get(EPHEMERAL).is_none_or(|value| value != "true") {
        return Err(Refused::NotInline(volume()));
    }
    if !request.readonly {
        return Err(Refused::Writable(volume()));
    }
    // The smallest name, so that the same request always gives the same error.
    match request.volume_context.keys().filter(|name| !name.starts_with(OF_KUBELET)).min() {
        Some(name) => Err(Refused::Attribute { volume: volume(), name: name.clone() }),
        None => Ok(target),
    }
}

/// Returns the target of a request to unmount a volume.
///
/// # Errors
/// Returns the reason why the volume can't be one of this driver.
pub fn unpublish(request: &NodeUnpublishVolumeRequest, kubelet: &Path) -> Result<Target, Refused> {
    target(&request.volume_id, &request.target_path, kubelet)
}

/// Returns the pod's namespace and name, for the log.
pub fn pod(request: &NodePublishVolumeRequest) -> (&str, &str) {
    let said = |name: &str| {
        request.volume_context.get(&format!("{OF_KUBELET}pod.{name}")).map_or("", String::as_str)
    };
    (said("namespace"), said("name"))
}

fn target(volume: &str, path: &str, kubelet: &Path) -> Result<Target, Refused> {
    if volume.is_empty() {
        return Err(Refused::Missing("volume_id"));
    }
    if path.is_empty() {
        return Err(Refused::Missing("target_path"));
    }
    let pods = kubelet.join("pods");
    inside(path, &pods).ok_or_else(|| Refused::Elsewhere {
        volume: volume.to_owned(),
        path: path.to_owned(),
        pods: pods.display().to_string(),
    })
}

/// Parses a path of exactly this form. The driver must not touch any other path.
fn inside(path: &str, pods: &Path) -> Option<Target> {
    // `Path` ignores `//` and `/./`, which would allow several spellings of one path.
    let plain = path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    let below = Path::new(path).strip_prefix(pods).ok().filter(|_| plain)?;
    let parts: Vec<&str> = below.components().map(normal).collect::<Option<_>>()?;
    let [_uid, "volumes", "kubernetes.io~csi", _volume, "mount"] = parts.as_slice() else { return None };
    let parent = below.parent()?.to_owned();
    Some(Target { pods: pods.to_owned(), parent, name: "mount".to_owned() })
}

fn normal(part: Component<'_>) -> Option<&str> {
    match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

// === impl Target ===

impl Target {
    /// Returns the whole path, for messages.
    pub fn path(&self) -> PathBuf {
        self.pods.join(&self.parent).join(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::volume::VolumeCapability;
    use crate::proto::volume::volume_capability::{BlockVolume, MountVolume};

    const KUBELET: &str = "/var/lib/kubelet";
    const PATH: &str = "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~csi/agent/mount";

    fn mk_request() -> NodePublishVolumeRequest {
        let context = [(EPHEMERAL, "true"), ("csi.storage.k8s.io/pod.name", "p")];
        NodePublishVolumeRequest {
            volume_id: "csi-1".into(),
            target_path: PATH.into(),
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(MountVolume {})),
            }),
            readonly: true,
            volume_context: context.map(|(name, value)| (name.into(), value.into())).into(),
        }
    }

    #[test]
    fn an_inline_read_only_volume_has_its_place() {
        let target = publish(&mk_request(), Path::new(KUBELET)).unwrap();
        assert_eq!(target.parent, Path::new("uid-1/volumes/kubernetes.io~csi/agent"));
        assert_eq!(target.path(), Path::new(PATH));
        let request = NodeUnpublishVolumeRequest { volume_id: "csi-1".into(), target_path: PATH.into() };
        assert_eq!(unpublish(&request, Path::new(KUBELET)), Ok(target));
        assert_eq!(pod(&mk_request()), ("", "p"));
    }

    #[test]
    fn every_other_volume_is_refused_with_what_to_do() {
        type Change = fn(&mut NodePublishVolumeRequest);
        let cases: [(Change, &str); 9] = [
            (|r| r.volume_id.clear(), "no volume_id"),
            (|r| r.target_path.clear(), "no target_path"),
            (|r| r.volume_capability = None, "no volume_capability"),
            (|r| r.volume_capability = Some(VolumeCapability { access_type: None }), "no access_type"),
            (
                |r| {
                    let access_type = Some(AccessType::Block(BlockVolume {}));
                    r.volume_capability = Some(VolumeCapability { access_type });
                },
                "volume csi-1: it is a directory",
            ),
            (
                |r| r.readonly = false,
                "volume csi-1: only read-only volumes are possible: write `readOnly: true`",
            ),
            (|r| r.volume_context.clear(), "volume csi-1: only inline volumes"),
            (|r| drop(r.volume_context.insert(EPHEMERAL.into(), "false".into())), "podInfoOnMount: true"),
            (|r| drop(r.volume_context.insert("size".into(), "1".into())), "the attribute \"size\""),
        ];
        for (change, words) in cases {
            let mut request = mk_request();
            change(&mut request);
            let error = publish(&request, Path::new(KUBELET)).unwrap_err().to_string();
            assert!(error.contains(words), "{error} does not say {words}");
        }
    }

    #[test]
    fn a_path_that_is_no_pods_own_volume_is_refused() {
        let paths = [
            "/etc",
            "relative/pods/uid-1/volumes/kubernetes.io~csi/agent/mount",
            "/var/lib/kubelet/pods",
            "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~csi/agent",
            "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~csi/agent/mount/",
            "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~csi/agent/mount/below",
            "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~csi/../../mount",
            "/var/lib/kubelet/pods/../volumes/kubernetes.io~csi/agent/mount",
            "/var/lib/kubelet/pods/./uid-1/volumes/kubernetes.io~csi/agent/mount",
            "/var/lib/kubelet/pods//volumes/kubernetes.io~csi/agent/mount",
            "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~secret/agent/mount",
            "/var/lib/kubelet/../kubelet/pods/uid-1/volumes/kubernetes.io~csi/agent/mount",
            "/var/lib/other/pods/uid-1/volumes/kubernetes.io~csi/agent/mount",
        ];
        for path in paths {
            let request = NodeUnpublishVolumeRequest { volume_id: "csi-1".into(), target_path: path.into() };
            let error = unpublish(&request, Path::new(KUBELET)).unwrap_err().to_string();
            assert!(error.contains("--kubelet-dir") && error.contains(path), "{error}");
        }
    }
}
