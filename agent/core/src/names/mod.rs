//! The bookkeeping of host names: what the machine's files say, which questions to ask, and what their answers mean.

pub mod hosts_file;
pub mod questions;
pub mod resolv_conf;
