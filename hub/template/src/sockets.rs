//! Confines listeners to the sockets of the LoadBalancer: [`confine`].

use std::net::IpAddr;

use prost_reflect::{DynamicMessage, Value};

use crate::error::Reason;
use crate::facts::{Facts, Protocol};
use crate::rendered::Socket;

/// Returns the sockets that a listener opens, after `taken`. Addresses for all interfaces become the LoadBalancer's public
/// address.
///
/// # Errors
/// Returns an error if an address or a port is not the LoadBalancer's, or if another listener has the socket.
pub fn confine(
    listener: &mut DynamicMessage,
    facts: &Facts,
    taken: &[Socket],
) -> Result<Vec<Socket>, Reason> {
    let name = text(listener, "name");
    let mut opened: Vec<Socket> = Vec::new();
    let mut open = |address: Option<&mut DynamicMessage>, path: String| {
        let socket = socket(address, facts, &path)?;
        let (protocol, port) = (socket.1, socket.0);
        let same = |taken: &&Socket| (taken.port, taken.protocol) == (port, protocol);
        if let Some(taken) = taken.iter().chain(&opened).find(same) {
            return Err(Reason::Taken { path, listener: taken.listener.clone(), protocol, port });
        }
        opened.push(Socket { address: facts.public_address, port, protocol, listener: name.clone() });
        Ok(())
    };
    open(inner(listener, "address"), "Listener.address".to_owned())?;
    if let Some(Value::List(more)) = listener.get_field_by_name_mut("additional_addresses") {
        for (index, address) in more.iter_mut().enumerate() {
            let path = format!("Listener.additional_addresses[{index}].address");
            open(address.as_message_mut().and_then(|address| inner(address, "address")), path)?;
        }
    }
    Ok(opened)
}

/// Returns port and protocol of an address, which gets the LoadBalancer's address.
fn socket(
    address: Option<&mut DynamicMessage>,
    facts: &Facts,
    path: &str,
) -> Result<(u16, Protocol), Reason> {
    let missing = || Reason::NoSocket { path: path.to_owned() };
    let socket = address.and_then(|address| inner(address, "socket_address")).ok_or_else(missing)?;
    let path = format!("{path}.socket_address");
    let wanted: IpAddr = text(socket, "address").parse().map_err(|_| missing())?;
    if !wanted.is_unspecified() && wanted != facts.public_address {
        let public = facts.public_address;
        return Err(Reason::Address { path, address: wanted, public });
    }
    let number = |field: &str| socket.get_field_by_name(field).and_then(|value| value.as_u32());
    let port = number("port_value").and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let port = port.ok_or_else(missing)?;
    let protocol = socket.get_field_by_name("protocol").and_then(|value| value.as_enum_number());
    let protocol = if protocol == Some(1) { Protocol::Udp } else { Protocol::Tcp };
    if !facts.ports.iter().any(|public| public.port == port && public.transport() == Some(protocol)) {
        return Err(Reason::Port { path, protocol, port });
    }
    socket.set_field_by_name("address", Value::String(facts.public_address.to_string()));
    Ok((port, protocol))
}

/// Returns a message inside of a message, if it is set.
fn inner<'m>(message: &'m mut DynamicMessage, field: &str) -> Option<&'m mut DynamicMessage> {
    if !message.has_field_by_name(field) {
        return None;
    }
    message.get_field_by_name_mut(field)?.as_message_mut()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
