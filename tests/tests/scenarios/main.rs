//! Scenarios that wait more than they work: in one binary, so that they wait beside each other.

mod call;
mod csi;
mod gateway_pods;
mod hostile;
mod metrics;
mod names;
mod nodes;
mod owners;
mod picture;
mod ports;
mod reports;
mod routing;
mod sidecars;
mod stale;
mod traces;
mod turns;
