//! API D: listeners by node name. IngressListener opens a port to a pod's own application, EgressListener a loopback port
//! to the pods of a cluster. A pod joins a cluster by an annotation.
//!
//! Users wrote three spellings: flat (`targetcluster`), nested (`target.cluster`), and nested with `rbac.Sans`, which an
//! earlier release read instead of `rbac.sans`. All are accepted and kept as written. [`ingress_listener::Ingress`] and
//! [`egress_listener::Egress`] are the resolved forms, which are the same for every spelling.

pub mod egress_listener;
pub mod ingress_listener;
mod layer;
mod spelling;
mod status;

pub use layer::Layer;
pub use status::ListenerStatus;

/// Maximum length of a node name, a cluster's name and a Secret's name, in characters.
pub const MAX_NAME: usize = 253;
/// Maximum length of a name in a certificate, in characters.
pub const MAX_SAN: usize = 1024;
/// Maximum number of names in a list of `sans`.
pub const MAX_SANS: usize = 256;

/// The annotation by which a pod joins a cluster, unless the hub's flag `--cluster-name-annotation` sets another.
pub const CLUSTER_NAME_ANNOTATION: &str = "cluster-name.envoy.uw.io";
