//! The generated code of the two protocols between a kubelet and a driver. The workspace's lints don't apply to it.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::excessive_nesting,
    clippy::too_many_lines,
    clippy::wildcard_imports
)]

/// `proto/csi.proto`: volumes.
pub mod volume {
    tonic::include_proto!("csi.v1");
}

/// `proto/pluginregistration.proto`: registration of a driver with a kubelet.
pub mod registration {
    tonic::include_proto!("pluginregistration");
}
