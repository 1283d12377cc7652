//! The names of services' objects.

use std::collections::BTreeSet;

use portreeve_api::identifiers::{is_dns_subdomain, is_label_value};
use portreeve_epic::request::service_name;

#[test]
fn short_names_are_kept() {
    for (group, name, shared, expected) in [
        ("g", "web", true, "g-web"),
        ("g", "web", false, "g-web-00000000000000ff"),
        ("g.x", "web.y", true, "g.x-web.y"),
    ] {
        assert_eq!(service_name(group, name, shared, 0xff), expected);
    }
    let longest = "n".repeat(61);
    assert_eq!(service_name("g", &longest, true, 0), format!("g-{longest}"));
}

#[test]
fn every_name_is_one_of_an_object_and_of_a_label() {
    for length in 1..=253 {
        for part in ["a", "a.b", "a-b", "a--b"] {
            let name: String = part.chars().cycle().take(length).collect();
            let name = name.trim_end_matches(['.', '-']);
            for shared in [true, false] {
                let made = service_name("group.x", name, shared, u64::MAX);
                assert!(is_dns_subdomain(&made) && is_label_value(&made), "{made}");
            }
        }
    }
}

#[test]
fn long_names_stay_different() {
    let long = "n".repeat(100);
    let (a, b) = (format!("{long}a"), format!("{long}b"));
    let joined = format!("n-{a}");
    let orders = [
        ("g", a.as_str(), true, 0),
        ("g", a.as_str(), false, 0),
        ("g", a.as_str(), false, 1),
        ("g", b.as_str(), true, 0),
        ("g", b.as_str(), false, 0),
        ("g", joined.as_str(), true, 0),
        ("g-n", a.as_str(), true, 0),
    ];
    let names: BTreeSet<String> = orders
        .iter()
        .map(|(group, name, shared, digits)| service_name(group, name, *shared, *digits))
        .collect();
    assert_eq!(names.len(), orders.len(), "{names:?}");
    assert_eq!(
        service_name("g", &a, true, 0),
        service_name("g", &a, true, 1),
        "a shared name needs no digits"
    );
}
