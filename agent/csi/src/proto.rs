//! The generated code of the two protocols that a kubelet speaks. It keeps to none of the workspace's lints.
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

/// `proto/pluginregistration.proto`: how a kubelet gets to know a driver.
pub mod registration {
    tonic::include_proto!("pluginregistration");
}
