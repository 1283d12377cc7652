//! Real streams over Unix sockets.

mod calls;
mod clients;
mod gate;
mod load;
mod peers;
mod spans;
mod stand;
mod suite;
