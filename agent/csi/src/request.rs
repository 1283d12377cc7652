//! What a kubelet may ask for: a request becomes the [`Target`] that it is about, or is [`Refused`].

use std::path::{Component, Path, PathBuf};

use crate::proto::volume::volume_capability::AccessType;
use crate::proto::volume::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};

/// What the kubelet says of a pod begins with this in a volume's context.
const OF_KUBELET: &str = "csi.storage.k8s.io/";
/// Whether a volume is written in its pod and lives as long as that; the kubelet's word where the CSIDriver has `podInfoOnMount`.
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

/// Where a volume is: a directory that a kubelet keeps for one volume of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// All pods' directory.
    pub pods: PathBuf,
    /// The volume's directory in it, which is the kubelet's to make.
    pub parent: PathBuf,
    /// What is mounted, in that directory.
    pub name: String,
}

/// A request that no kubelet should make for this driver, or a volume that it doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Required by the specification.
    #[error("the request has no {0}")]
    Missing(&'static str),
    /// Not in the shape that kubelets use, or of another one.
    #[error(
        "volume {volume}: target_path {path:?} is not {pods}/UID/volumes/kubernetes.io~csi/NAME/mount: \
             start the driver with the --kubelet-dir of this node's kubelet"
    )]
    Elsewhere {
        /// Its id.
        volume: String,
        /// What was asked for.
        path: String,
        /// Where pods are.
        pods: String,
    },
    /// A PersistentVolume, or the CSIDriver object is not ours.
    #[error(
        "volume {0}: only inline volumes of pods are possible: write `csi: {{driver: csi.portreeve.dev, readOnly: true}}` in \
             the pod's volumes, and see that the CSIDriver csi.portreeve.dev has podInfoOnMount: true"
    )]
    NotInline(String),
    /// It could be written.
    #[error(
        "volume {0}: only read-only volumes are possible: write `readOnly: true` beside `driver: csi.portreeve.dev`"
    )]
    Writable(String),
    /// As a device.
    #[error("volume {0}: it is a directory, and no block device")]
    Block(String),
    /// Misspelt, or of another driver.
    #[error("volume {volume}: the attribute {name:?} means nothing: there are no volumeAttributes")]
    Attribute {
        /// Its id.
        volume: String,
        /// Its name.
        name: String,
    },
}

/// Where the volume that is asked for is to be.
///
/// # Errors
/// Why there can't be such a volume.
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
    // The least, so that the same request is refused with the same words.
    match request.volume_context.keys().filter(|name| !name.starts_with(OF_KUBELET)).min() {
        Some(name) => Err(Refused::Attribute { volume: volume(), name: name.clone() }),
        None => Ok(target),
    }
}

/// Where the volume that is to go is.
///
/// # Errors
/// Why this driver can't have made such a volume.
pub fn unpublish(request: &NodeUnpublishVolumeRequest, kubelet: &Path) -> Result<Target, Refused> {
    target(&request.volume_id, &request.target_path, kubelet)
}

/// Whose volume it is, for the log: namespace and name.
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

/// The target in a path of just that shape: pods' other volumes, and what is in them, are none of the driver's business.
fn inside(path: &str, pods: &Path) -> Option<Target> {
    // `Path` passes over `//` and `/./`, which would be another spelling of the same.
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
    /// As one path, for people.
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
