//! The data path of EPIC's GUE tunnels: packets between a TUN device and a UDP socket ([`outward`], [`inward`]). What becomes of
//! each packet is decided by `portreeve-gue`; which packets come to the device, by rules and routes ([`paths`], [`kernel`]).
//!
//! The device hands over and takes packets of a flow together, up to 64 kB in one call (IFF_VNET_HDR): `divide` makes the packets
//! that pass, `merge` the opposite. `tun-rs` has code for both, but copies packets more often, and fails at a packet of more
//! segments than it has buffers. `quinn-udp` does the same at the outer socket (UDP GSO and GRO, recvmmsg).

mod batch;
mod client;
mod divide;
mod end;
mod epic;
pub mod files;
mod gateway;
pub mod kernel;
mod merge;
mod metrics;
mod objects;
mod offload;
pub mod paths;
mod pings;
mod pump;
mod role;
mod socket;

use std::io;

use portreeve_gue::gateway::LONGEST;
pub use tun_rs::AsyncDevice;
use tun_rs::DeviceBuilder;

pub use client::{GueClientArgs, run as run_client};
pub use end::{End, Passed, Shared, Volume};
pub use gateway::{GueArgs, run as run_gateway};
pub use pings::pings;
pub use pump::{inward, outward};
pub use socket::Socket;

/// How packets pass between the programs and the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Those of a flow together, up to 64 kB in one call.
    Together,
    /// Each alone. Only benchmarks ask for it.
    Alone,
}

/// Creates a TUN device in the network namespace of this thread, and brings it up. It ends with the returned value. Needs the
/// capability `NET_ADMIN`.
///
/// # Errors
/// Returns an error without the capability, without `/dev/net/tun`, or if there is an interface of this name.
pub fn device(name: &str, passage: Passage) -> io::Result<AsyncDevice> {
    builder(name, passage).build_async()
}

fn builder(name: &str, passage: Passage) -> DeviceBuilder {
    let mtu = u16::try_from(LONGEST).unwrap_or(u16::MAX);
    DeviceBuilder::new().name(name).mtu(mtu).offload(passage == Passage::Together)
}
