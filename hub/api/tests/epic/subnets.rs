//! Subnets and aggregations (C18).

use std::net::IpAddr;

use portreeve_api::c::aggregation::{Aggregation, AggregationError};
use portreeve_api::c::subnet::{Subnet, SubnetError};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn texts_that_are_no_subnet_are_refused() {
    for text in ["10.0.0.0", "10.0.0.0/a", "10.0.0.0-10.0.0.1", "10.0.0.0/8/8"] {
        assert_eq!(text.parse::<Subnet>(), Err(SubnetError(text.into())), "{text}");
    }
}

#[test]
fn aggregation_chooses_the_route() {
    let (subnet, address): (Subnet, _) = ("192.168.77.0/24".parse().unwrap(), ip("192.168.77.9"));
    for (text, route) in [
        ("default", Some("192.168.77.0/24")),
        ("/32", Some("192.168.77.9/32")),
        ("/29", Some("192.168.77.8/29")),
        ("/0", Some("0.0.0.0/0")),
        ("/64", None),
    ] {
        let aggregation: Aggregation = text.parse().unwrap();
        assert_eq!(aggregation.to_string(), text);
        assert_eq!(
            aggregation.route(subnet, address).map(|route| route.to_string()).as_deref(),
            route,
            "{text}"
        );
    }
    for text in ["", "Default", "32", "/", "/129", "/-1", "/+8", "/256"] {
        assert_eq!(text.parse::<Aggregation>(), Err(AggregationError(text.into())), "{text}");
    }
}

#[test]
fn subnet_contains_the_addresses_with_its_prefix() {
    let subnet: Subnet = "192.168.77.5/24".parse().unwrap();
    assert_eq!((subnet.address(), subnet.bits()), (ip("192.168.77.0"), 24));
    for (address, inside) in
        [("192.168.77.255", true), ("192.168.78.0", false), ("::ffff:192.168.77.1", false), ("::", false)]
    {
        assert_eq!(subnet.contains(ip(address)), inside, "{address}");
    }
}
