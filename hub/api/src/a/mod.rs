//! API A: the l7mp operator's `servicemesh.l7mp.io/v1`, accepted unchanged.

pub mod virtual_service;
