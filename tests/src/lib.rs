//! The harness: a real API server, real nodes, network namespaces, processes under test, UDP flows and the Envoy admin client
//! that the scenarios and the benchmarks of this crate are written with.
//!
//! Everything here starts real things and ends them: children die with the test process (`PR_SET_PDEATHSIG`),
//! namespaces vanish with the last file descriptor, data lives in temporary directories, ports are the kernel's choice.
//!
//! (syn, with proc-macro2 for line numbers, is for the test of the style's limits: it counts on parsed source.)

pub mod assets;
pub mod call;
pub mod certs;
pub mod cgroup;
pub mod cluster;
pub mod collector;
pub mod controlplane;
pub mod crowd;
pub mod definitions;
pub mod dns;
pub mod envoy;
pub mod exporter;
pub mod family;
pub mod guard;
pub mod half_open;
pub mod hand_over;
pub mod health_port;
pub mod http;
pub mod http_port;
pub mod images;
pub mod kustomize;
pub mod ledger;
pub mod leftovers;
pub mod manifest;
pub mod netns;
pub mod packages;
pub mod path;
pub mod picture;
pub mod pipe;
pub mod process;
pub mod processor_share;
pub mod relay;
pub mod spawner;
pub mod stall;
pub mod token;
pub mod town;
pub mod udp;
pub mod under_test;
pub mod virtual_service;
pub mod wait;
pub mod writes;
