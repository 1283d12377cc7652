//! The product's own kinds, `portreeve.dev/v1alpha1`.

pub mod node_proxy;
pub mod node_report;
