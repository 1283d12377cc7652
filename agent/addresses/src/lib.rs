//! Public addresses on the nodes' interfaces, each on one node at a time. Entry point: [`run()`], the role `addresses` of the
//! agent's program.
//!
//! [`judge`] is pure: it decides which node has which address, by Leases in the API server ([`leases`]). [`work`] is pure: it
//! decides what is asked of other machines and of the API server, and when. [`keeper`] is the loop that follows both, and
//! [`jobs`] runs what it mustn't wait for. [`links`] is the shell around the kernel's netlink interface and a packet socket;
//! [`frames`] builds the frames of an announcement, and [`neighbours`] asks for the owner of an IPv6 address.
//!
//! Unusual dependencies:
//! - `rtnetlink` (MIT; with its own `netlink-*` crates, also MIT) speaks rtnetlink, the kernel's interface for
//!   interfaces, addresses and routes. The alternative is to start `ip` and to parse its output, which needs iproute2 in
//!   the image.
//! - `nix` sends the frames: its safe API has packet sockets, and `getifaddrs` returns the link-layer address that such
//!   a socket sends to. Other crates of the workspace use it already, so no crate only for packet sockets is needed.
//! - `socket2` attaches a filter to the packet socket that receives answers, which `nix` can't do without unsafe code.

pub mod frames;
pub mod jobs;
pub mod judge;
pub mod keeper;
pub mod leases;
pub mod links;
pub mod neighbours;
mod packets;
pub mod pauses;
mod probes;
pub mod problems;
mod run;
mod subnets;
pub mod work;

pub use links::{Interface, Links};
pub use run::{AddressesArgs, run};
