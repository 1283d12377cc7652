//! The protocol cases, spoken to the session without a runtime.

mod ack;
mod addresses;
mod conformance;
mod content;
mod newer;
mod order;
mod peer;
mod random;
mod reject;
mod settled;
mod sotw;
mod sotw_reject;
mod subscribe;
mod vanished;
mod views;
mod waits;
mod withheld;
