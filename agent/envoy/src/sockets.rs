//! The sockets that a listener opens: [`addresses`], [`open`].

use std::num::NonZeroU16;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as envoy;
use portreeve_agent_core::translate::bind::{Bind, Part};

/// Returns the sockets to open, the main one first.
pub fn addresses(
    bind: Bind,
    v6_first: bool,
    protocol: core::socket_address::Protocol,
    port: NonZeroU16,
) -> Vec<core::SocketAddress> {
    let at = |address: String, ipv4_compat| core::SocketAddress {
        protocol: protocol.into(),
        address,
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.get().into())),
        ipv4_compat,
        ..Default::default()
    };
    if let (Part::Any, Part::Any) = (bind.v4, bind.v6) {
        return vec![at("::".into(), true)];
    }
    let v4 = match bind.v4 {
        Part::Nothing => None,
        Part::Any => Some("0.0.0.0".to_owned()),
        Part::One(ip) => Some(ip.to_string()),
    };
    let v6 = match bind.v6 {
        Part::Nothing => None,
        Part::Any => Some("::".to_owned()),
        Part::One(ip) => Some(ip.to_string()),
    };
    let both = if v6_first { [v6, v4] } else { [v4, v6] };
    both.into_iter().flatten().map(|address| at(address, false)).collect()
}

/// Sets a listener's sockets, each with the options that `options` returns.
pub fn open(
    built: &mut envoy::Listener,
    addresses: Vec<core::SocketAddress>,
    options: impl Fn(&core::SocketAddress) -> Vec<core::SocketOption>,
) {
    let address = |socket| core::Address { address: Some(core::address::Address::SocketAddress(socket)) };
    let mut addresses = addresses.into_iter();
    let Some(main) = addresses.next() else { return };
    built.socket_options = options(&main);
    built.address = Some(address(main));
    built.additional_addresses = addresses
        .map(|socket| {
            // Without its own options, an additional address would get those of the main one.
            let own = core::SocketOptionsOverride { socket_options: options(&socket) };
            envoy::AdditionalAddress {
                address: Some(address(socket)),
                socket_options: Some(own),
                ..Default::default()
            }
        })
        .collect();
}

/// Returns options that allow fragmentation of sent datagrams. Envoy forbids it for UDP listeners, and an
/// answer larger than the link's MTU would be lost. The values are the Linux kernel's defaults. They are set
/// after Envoy's own option, which is set before the bind.
pub fn may_fragment(socket: &core::SocketAddress) -> Vec<core::SocketOption> {
    use core::socket_option::{SocketState, Value};
    const PMTUDISC_WANT: i64 = 1;
    let option = |description: &str, level, name| core::SocketOption {
        description: description.into(),
        level,
        name,
        value: Some(Value::IntValue(PMTUDISC_WANT)),
        state: SocketState::StateBound.into(),
        ..Default::default()
    };
    // Protocol numbers of IP and IPv6, with their options. An IPv4 socket does not accept IPv6 options.
    let mut options = vec![option("IP_MTU_DISCOVER", 0, 10)];
    if socket.address.contains(':') {
        options.push(option("IPV6_MTU_DISCOVER", 41, 23));
    }
    options
}
