//! EPIC's GUE tunnels (seed C.4), the pure part: the bytes of their packets ([`wire`], [`ipv4`]), the answer to a packet that is
//! too big ([`too_big`]), what becomes of each packet at EPIC's end of the tunnels ([`gateway`]) and at the customer's
//! ([`client`]), which tunnels a customer's node has ([`customer`]), and which pods
//! it announces to EPIC ([`announced`]). No sockets and no clock: times are passed in.
//!
//! `lru` keeps the client's sessions, because the standard library has no map that forgets what was used longest ago.

pub mod announced;
pub mod client;
pub mod customer;
pub mod dropped;
pub mod gateway;
pub mod ipv4;
pub mod too_big;
pub mod wire;
