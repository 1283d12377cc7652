//! Real streams over Unix sockets.

mod calls;
mod clients;
mod gate;
mod load;
mod peers;
mod stand;
mod suite;
