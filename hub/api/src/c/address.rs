//! IP addresses as Kubernetes' fields spell them: [`parse`].

use std::net::IpAddr;

use super::refusal;
use crate::violation::Checks;

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
