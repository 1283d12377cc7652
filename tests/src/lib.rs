//! The test harness for the scenarios and benchmarks of this crate: a real API server, real nodes, network namespaces,
//! processes under test, UDP flows, a TCP application and a client of Envoy's admin interface.
//!
//! All resources are real and end with the test: children die with the test process (`PR_SET_PDEATHSIG`), namespaces
//! vanish with the last file descriptor, data is in temporary directories, and ports are chosen by the kernel.
//!
//! (The test of the style's limits parses source code with syn; proc-macro2 provides line numbers.)

pub mod assets;
pub mod banner;
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
pub mod epic;
pub mod exporter;
pub mod family;
pub mod fleet;
pub mod floating;
pub mod greeter;
pub mod grpc;
pub mod guard;
pub mod half_open;
pub mod hand_over;
pub mod health_port;
pub mod http;
pub mod http_port;
pub mod images;
pub mod json_socket;
pub mod kustomize;
pub mod l7mp;
pub mod ledger;
pub mod leftovers;
pub mod manifest;
pub mod netns;
pub mod node_names;
pub mod orderer;
pub mod packages;
pub mod path;
pub mod picture;
pub mod pipe;
pub mod process;
pub mod processor_share;
pub mod relay;
pub mod resident;
pub mod spawner;
pub mod stall;
pub mod token;
pub mod town;
pub mod tunnels;
pub mod udp;
pub mod under_test;
pub mod virtual_service;
pub mod wait;
pub mod writes;
