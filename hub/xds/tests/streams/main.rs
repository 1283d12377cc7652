//! Real streams over Unix sockets.

mod calls;
mod clients;
mod load;
mod peers;
mod stand;
