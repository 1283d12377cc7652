//! The addresses that a listener binds ([`Bind`]), by the proxy's address families ([`Families`]). Shared by
//! all kinds of proxies.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portreeve_api::model::{Scope, Socket};

/// Address families of a proxy's network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    #[default]
    V4,
    /// IPv6 only.
    V6,
    /// Both, IPv4 first.
    Dual,
    /// Both, IPv6 first.
    DualV6First,
}

/// Addresses of one network namespace, by family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bind {
    /// IPv4 addresses.
    pub v4: Part<Ipv4Addr>,
    /// IPv6 addresses.
    pub v6: Part<Ipv6Addr>,
}

/// Addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part<A> {
    /// No address.
    Nothing,
    /// All addresses: the wildcard address.
    Any,
    /// One address.
    One(A),
}

// === impl Bind ===

impl Bind {
    const NOTHING: Self = Self { v4: Part::Nothing, v6: Part::Nothing };

    /// Returns every address of the proxy's families.
    pub fn wildcard(families: Families) -> Self {
        Self::in_families(families, Part::Any, Part::Any)
    }

    /// Returns the loopback address of each of the proxy's families.
    pub fn loopback(families: Families) -> Self {
        Self::in_families(families, Part::One(Ipv4Addr::LOCALHOST), Part::One(Ipv6Addr::LOCALHOST))
    }

    /// Returns one address, or all addresses of its family if it is unspecified.
    pub fn one(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) if ip.is_unspecified() => Self { v4: Part::Any, ..Self::NOTHING },
            IpAddr::V6(ip) if ip.is_unspecified() => Self { v6: Part::Any, ..Self::NOTHING },
            IpAddr::V4(ip) => Self { v4: Part::One(ip), ..Self::NOTHING },
            IpAddr::V6(ip) => Self { v6: Part::One(ip), ..Self::NOTHING },
        }
    }

    /// Returns the addresses that a listener's socket asks for on a proxy with these families.
    ///
    /// # Errors
    /// Returns an error message if the scope is unknown, or if the proxy can't have the address.
    pub fn of(socket: &Socket, families: Families) -> Result<Self, String> {
        match socket.scope {
            Scope::Wildcard => Ok(Self::wildcard(families)),
            Scope::Loopback => Ok(Self::loopback(families)),
            Scope::Address | Scope::Floating => {
                Self::of_address(socket.bind.and_then(|bind| bind.ip), families)
            }
            Scope::Unknown(number) => Err(format!("socket.scope {number} is not known")),
        }
    }

    fn of_address(ip: Option<IpAddr>, families: Families) -> Result<Self, String> {
        let ip = ip.ok_or("socket.bind has no address, and socket.scope asks for one")?;
        if ip.is_unspecified() {
            return Err(format!(
                "socket.bind {ip} is not one address: leave the address out to bind all of them"
            ));
        }
        let bind = Self::one(ip);
        if bind.overlaps(&Self::wildcard(families)) {
            return Ok(bind);
        }
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        Err(format!("socket.bind {ip}: the proxy has no {family} address"))
    }

    fn in_families(families: Families, v4: Part<Ipv4Addr>, v6: Part<Ipv6Addr>) -> Self {
        match families {
            Families::V4 => Self { v4, ..Self::NOTHING },
            Families::V6 => Self { v6, ..Self::NOTHING },
            Families::Dual | Families::DualV6First => Self { v4, v6 },
        }
    }

    /// Returns whether two sockets with the same port would receive the same traffic.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.v4.overlaps(&other.v4) || self.v6.overlaps(&other.v6)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.v4, self.v6) {
            (Part::One(v4), Part::One(v6)) => write!(f, "{v4} and {v6}"),
            (Part::One(v4), _) => write!(f, "{v4}"),
            (_, Part::One(v6)) => write!(f, "{v6}"),
            _ => f.write_str("all addresses"),
        }
    }
}

// === impl Part ===

impl<A: PartialEq> Part<A> {
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => false,
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::One(one), Self::One(other)) => one == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::model::Protocol;

    use super::*;

    fn one(ip: &str) -> Bind {
        Bind::one(ip.parse().unwrap())
    }

    #[test]
    fn sockets_overlap_exactly_where_they_share_an_address() {
        use Families::{Dual, DualV6First, V4, V6};
        let all = [
            ("any v4", Bind::wildcard(V4)),
            ("any v6", Bind::wildcard(V6)),
            ("any", Bind::wildcard(Dual)),
            ("127.0.0.1", one("127.0.0.1")),
            ("127.0.0.2", one("127.0.0.2")),
            ("::1", one("::1")),
            ("both loopbacks", Bind::loopback(DualV6First)),
            ("mapped 127.0.0.2", one("::ffff:127.0.0.2")),
        ];
        let overlapping = [
            ("any v4", "any"),
            ("any v4", "127.0.0.1"),
            ("any v4", "127.0.0.2"),
            ("any v4", "both loopbacks"),
            ("any v4", "mapped 127.0.0.2"),
            ("any v6", "any"),
            ("any v6", "::1"),
            ("any v6", "both loopbacks"),
            ("any", "127.0.0.1"),
            ("any", "127.0.0.2"),
            ("any", "::1"),
            ("any", "both loopbacks"),
            ("any", "mapped 127.0.0.2"),
            ("127.0.0.1", "both loopbacks"),
            ("127.0.0.2", "mapped 127.0.0.2"),
            ("::1", "both loopbacks"),
        ];
        for (name, bind) in &all {
            for (other_name, other) in &all {
                let listed =
                    overlapping.contains(&(name, other_name)) || overlapping.contains(&(other_name, name));
                assert_eq!(bind.overlaps(other), listed || name == other_name, "{name} and {other_name}");
            }
        }
    }

    #[test]
    fn scope_says_what_is_bound_and_an_address_that_the_proxy_can_not_have_is_an_error() {
        use Scope::{Address, Floating, Loopback, Unknown, Wildcard};
        let cases = [
            (Wildcard, "", Families::V4, Ok(Bind::wildcard(Families::V4))),
            (Loopback, "", Families::V6, Ok(one("::1"))),
            (Loopback, "", Families::V4, Ok(one("127.0.0.1"))),
            (Address, "10.0.0.1", Families::DualV6First, Ok(one("10.0.0.1"))),
            (Address, "fd00::1", Families::V6, Ok(one("fd00::1"))),
            (Floating, "10.0.0.1", Families::V4, Ok(one("10.0.0.1"))),
            (Floating, "", Families::V4, Err("socket.bind has no address, and socket.scope asks for one")),
            (Address, "::ffff:10.0.0.1", Families::V4, Ok(one("10.0.0.1"))),
            (Address, "fd00::1", Families::V4, Err("socket.bind fd00::1: the proxy has no IPv6 address")),
            (Address, "10.0.0.1", Families::V6, Err("socket.bind 10.0.0.1: the proxy has no IPv4 address")),
            (Address, "", Families::V4, Err("socket.bind has no address, and socket.scope asks for one")),
            (Address, "::", Families::Dual, Err("socket.bind :: is not one address")),
            (Unknown(99), "", Families::V4, Err("socket.scope 99 is not known")),
        ];
        for (scope, ip, families, expected) in cases {
            let bind = Some(portreeve_api::model::Address { ip: ip.parse().ok(), port: None });
            let socket = Socket { scope, bind, ..Socket::new(Protocol::Udp, None) };
            match (Bind::of(&socket, families), expected) {
                (Ok(bind), Ok(expected)) => assert_eq!(bind, expected, "{ip}"),
                (Err(text), Err(expected)) => assert!(text.starts_with(expected), "{text}"),
                (outcome, expected) => panic!("{ip}: {outcome:?}, not {expected:?}"),
            }
        }
    }
}
