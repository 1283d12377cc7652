//! API A: the operator's `servicemesh.l7mp.io/v1`, accepted as it is.

pub mod virtual_service;
