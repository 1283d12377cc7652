//! Paths: what they lead to, that their text is their inverse, and paths that lead nowhere.
#![allow(clippy::unwrap_used, reason = "a test ends where its own input can't be read")]

use portreeve_api::c::names::MAX_ACCOUNT;
use portreeve_api::c::schema::{MAX_CLUSTER, MAX_NAME};
use portreeve_epic::path::{MAX_PATH, Target, is_cluster};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

fn a() -> String {
    "a".into()
}

fn s() -> String {
    "s".into()
}

fn cluster(name: &str) -> Target {
    Target::Cluster { account: a(), service: s(), cluster: name.into() }
}

#[test]
fn each_path_leads_to_its_target_and_back() {
    let endpoint = "10-244-1-5-8080-tcp-0123456789abcdef";
    for (path, target) in [
        ("/api/epic/healthz", Target::Health),
        ("/api/epic/accounts/a", Target::Account { account: a() }),
        ("/api/epic/accounts/a/groups/g.x", Target::Group { account: a(), group: "g.x".into() }),
        ("/api/epic/accounts/a/groups/g/services", Target::Services { account: a(), group: "g".into() }),
        ("/api/epic/accounts/a/services/s", Target::Service { account: a(), service: s() }),
        ("/api/epic/accounts/a/services/s/clusters", Target::Clusters { account: a(), service: s() }),
        ("/api/epic/accounts/a/services/s/clusters/c", cluster("c")),
        ("/api/epic/accounts/a/services/s/clusters/a+b%2Fc", cluster("a b/c")),
        ("/api/epic/accounts/a/services/s/clusters/%C3%A9%2B%25", cluster("é+%")),
        ("/api/epic/accounts/a/services/s/clusters/...", cluster("...")),
        ("/api/epic/accounts/a/services/s/endpoints", Target::Endpoints { account: a(), service: s() }),
        (
            "/api/epic/accounts/a/services/s/endpoints/10-244-1-5-8080-tcp-0123456789abcdef",
            Target::Endpoint { account: a(), service: s(), endpoint: endpoint.into() },
        ),
    ] {
        assert_eq!(Target::parse(path).as_ref(), Some(&target), "{path}");
        assert_eq!(target.to_string(), path);
    }
}

#[test]
fn other_spellings_of_a_path_lead_to_the_same_target() {
    for (path, target) in [
        ("/healthz", Target::Health),
        ("/api/epic/accounts/%61", Target::Account { account: a() }),
        ("/api/epic/accounts/a/services/s/clusters/a%20b%2fc", cluster("a b/c")),
        ("/api/epic/accounts/a/services/s/clusters/x:y", cluster("x:y")),
    ] {
        assert_eq!(Target::parse(path), Some(target), "{path}");
    }
}

#[test]
fn other_paths_lead_nowhere() {
    for path in [
        "",
        "/",
        "/api",
        "/api/epic",
        "/api/epic/",
        "/api/epicaccounts/a",
        "/api/epic//accounts/a",
        "//api/epic/accounts/a",
        "/accounts/a",
        "/healthz/",
        "/api/epic/healthz/",
        "/api/epic/healthz/x",
        "api/epic/accounts/a",
        "/API/epic/accounts/a",
        "/api/epic/Accounts/a",
        "/api/epic/accounts",
        "/api/epic/accounts/",
        "/api/epic/accounts/a/",
        "/api/epic/accounts//groups/g",
        "/api/epic/accounts/a//groups/g",
        "/api/epic/accounts/a/groups",
        "/api/epic/accounts/a/groups/",
        "/api/epic/accounts/a/groups/g/",
        "/api/epic/accounts/a/groups/g/services/",
        "/api/epic/accounts/a/groups/g/services/s",
        "/api/epic/accounts/a/proxies/p",
        "/api/epic/accounts/a/services/s/routes",
        "/api/epic/accounts/a/services/s/clusters/",
        "/api/epic/accounts/a/services/s/clusters/c/",
        "/api/epic/accounts/a/services/s/clusters/c/d",
        "/api/epic/accounts/a/services/s/endpoints/e/f",
        "https://h/api/epic/accounts/a",
    ] {
        assert_eq!(Target::parse(path), None, "{path}");
    }
}

#[test]
fn names_that_no_object_can_have_lead_nowhere() {
    let long = "x".repeat(MAX_ACCOUNT + 1);
    for name in [
        "..", ".", "%2e%2e", "A", "a_b", "a%2Fb", "a%00", "%00", "-a", "a-", "a.b", "a+b", "a%20b", "é",
        "%ff", "%", &long,
    ] {
        assert_eq!(Target::parse(&format!("/api/epic/accounts/{name}")), None, "{name}");
        assert_eq!(Target::parse(&format!("/api/epic/accounts/{name}/groups/g")), None, "{name}");
    }
    let long = "x".repeat(MAX_NAME + 1);
    for name in [
        "..",
        ".",
        "%2E%2E",
        "a%2F..%2Fb",
        "A",
        "a_b",
        "a..b",
        ".a",
        "a.",
        "-a",
        "%00",
        "a%0Ab",
        "+",
        "%zz",
        &long,
    ] {
        for path in
            ["groups/N", "groups/N/services", "services/N", "services/N/clusters/c", "services/s/endpoints/N"]
        {
            let path = format!("/api/epic/accounts/a/{}", path.replace('N', name));
            assert_eq!(Target::parse(&path), None, "{path}");
        }
    }
    let long = "x".repeat(MAX_CLUSTER + 1);
    for name in [".", "..", "%2e", "%2E%2e", "%00", "a%0d%0aLocation:+x", "%7F", "%ff", "%C2", "a%", &long] {
        let path = format!("/api/epic/accounts/a/services/s/clusters/{name}");
        assert_eq!(Target::parse(&path), None, "{path}");
    }
}

#[test]
fn longest_names_have_paths_and_longer_paths_lead_nowhere() {
    let longest = Target::Cluster {
        account: "a".repeat(MAX_ACCOUNT),
        service: "s".repeat(MAX_NAME),
        cluster: "🦀".repeat(MAX_CLUSTER),
    };
    let path = longest.to_string();
    assert!(path.len() <= MAX_PATH);
    assert_eq!(Target::parse(&path), Some(longest));
    for part in ["x", "/", "%", "%41", "/.."] {
        assert_eq!(Target::parse(&format!("/api/epic/accounts/{}", part.repeat(1_000_000))), None);
    }
}

#[test]
fn every_target_belongs_to_the_account_in_its_path() {
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..1000 {
        let target = any_target(&mut random);
        let account = target.to_string().split('/').nth(4).map(str::to_owned);
        assert_eq!(target.account(), account.as_deref());
    }
}

#[test]
fn path_and_target_are_inverses_for_random_names() {
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..20_000 {
        let target = any_target(&mut random);
        let path = target.to_string();
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        assert_eq!(Target::parse(&path), Some(target), "{path}");
    }
}

#[test]
fn path_of_random_bytes_leads_nowhere_or_to_a_target_with_a_path() {
    let parts =
        ["/api/epic", "/accounts", "/a", "/services", "/clusters", "/", "%", "2F", "..", "+", "\0", "é", "c"];
    let mut random = StdRng::seed_from_u64(3);
    for _ in 0..20_000 {
        let below: String =
            (0..random.random_range(0..8)).filter_map(|_| parts.choose(&mut random)).copied().collect();
        let path = format!("/api/epic/accounts/a/services/s/clusters/{below}");
        if let Some(target) = Target::parse(&path) {
            assert_eq!(Target::parse(&target.to_string()), Some(target), "{path}");
        }
    }
}

fn any_name(random: &mut StdRng) -> String {
    let inner = b"abcxyz0189-";
    let ends = b"az09";
    let middle: String = (0..random.random_range(0..20))
        .filter_map(|_| inner.choose(random))
        .map(|byte| char::from(*byte))
        .collect();
    let mut end = || ends.choose(random).map_or('a', |byte| char::from(*byte));
    format!("{}{middle}{}", end(), end())
}

fn any_cluster(random: &mut StdRng) -> String {
    loop {
        let name: String = (0..random.random_range(1..12))
            .map(|_| match random.random_range(0..4) {
                0 => random.random::<char>(),
                1 => *['/', '+', '%', ' ', '.', '?', '#', '&', '\\'].choose(random).unwrap(),
                _ => char::from(random.random_range(b'!'..=b'~')),
            })
            .collect();
        if is_cluster(&name) {
            return name;
        }
    }
}

fn any_target(random: &mut StdRng) -> Target {
    let (account, name, other) = (any_name(random), any_name(random), any_name(random));
    match random.random_range(0..8) {
        0 => Target::Account { account },
        1 => Target::Group { account, group: name },
        2 => Target::Services { account, group: name },
        3 => Target::Service { account, service: name },
        4 => Target::Clusters { account, service: name },
        5 => Target::Endpoints { account, service: name },
        6 => Target::Endpoint { account, service: name, endpoint: other },
        _ => Target::Cluster { account, service: name, cluster: any_cluster(random) },
    }
}
