//! API C (EPIC): LoadBalancer → Plan. All other kinds are parts that LoadBalancers and the allocators look up.

pub mod account;
mod age;
pub mod embodiment;
pub mod endpoint;
pub mod epic;
pub mod group;
pub mod load_balancer;
mod ports;
pub mod prefix;
pub mod template;
#[cfg(test)]
mod tests;
mod tunnels;
