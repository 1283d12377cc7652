//! IP addresses: how Kubernetes' fields spell them, and which ones lead nowhere but to the machine itself ([`is_of_machine`]).

use std::net::IpAddr;

use super::refusal;
use crate::violation::Checks;

/// Returns whether an address leads to the machine or the link that it is used on, whichever these are. Endpoints at such an
/// address would be programs of the gateway.
pub fn is_of_machine(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let of_link = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    of_link || address.is_loopback() || address.is_unspecified() || address.is_multicast()
}

/// Parses an IPv4 or IPv6 address. An IPv4 address in IPv6 form becomes an IPv4 address.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Checks a required address. `field` is the last part of the path.
pub(super) fn required(
    text: Option<&str>,
    (path, field): (&str, &str),
    checks: &mut Checks,
) -> Option<IpAddr> {
    checks.must(text.is_some(), path, "is required");
    let address = parse(text?);
    checks.must(address.is_some(), path, refusal::bad_address(field, text?));
    address
}

/// Checks an address that may be absent or empty. `field` is the last part of the path.
pub(super) fn optional(text: Option<&str>, at: (&str, &str), checks: &mut Checks) -> Option<IpAddr> {
    required(Some(text.filter(|text| !text.is_empty())?), at, checks)
}
