//! The cache of password checks: how long results are kept, and how many.
#![allow(clippy::unwrap_used, reason = "a test ends where its own input can't be read")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_epic::auth::Credentials;
use portreeve_epic::cache::{Cache, KEPT};

fn mk(user: &str, password: &str) -> Credentials {
    Credentials::parse(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))).unwrap()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn result_is_kept_for_a_minute() {
    for right in [true, false] {
        let mut cache = Cache::new([1; 16], 4);
        let check = cache.check("v1", &mk("u", "p"));
        assert_eq!(cache.get(&check, at(0)), None);
        cache.put(check, right, at(10));
        for (seconds, result) in [(10, Some(right)), (69, Some(right)), (70, None), (1000, None)] {
            assert_eq!(cache.get(&check, at(seconds)), result, "{seconds}");
        }
        cache.put(check, right, at(100));
        assert_eq!(cache.get(&check, at(100) + KEPT / 2), Some(right), "again");
        cache.sweep(at(159));
        assert_eq!(cache.counts().0 + cache.counts().1, 1);
        cache.sweep(at(160));
        assert_eq!(cache.counts(), (0, 0));
    }
}

#[test]
fn each_version_user_and_password_is_another_check() {
    let (cache, other) = (Cache::new([1; 16], 4), Cache::new([2; 16], 4));
    let check = cache.check("v1", &mk("u", "p"));
    assert_eq!(check, cache.check("v1", &mk("u", "p")));
    for (version, user, password) in [
        ("v2", "u", "p"),
        ("v1", "x", "p"),
        ("v1", "u", "P"),
        ("v1u", "", "p"),
        ("v1", "up", ""),
        ("v1", "", "up"),
    ] {
        assert_ne!(check, cache.check(version, &mk(user, password)), "{version} {user} {password}");
    }
    assert_ne!(check, other.check("v1", &mk("u", "p")), "the salt differs");
}

#[test]
fn wrong_passwords_do_not_push_right_ones_out() {
    let mut cache = Cache::new([1; 16], 3);
    let right = cache.check("v", &mk("u", "p"));
    cache.put(right, true, at(0));
    for guess in 0..1000 {
        let wrong = cache.check("v", &mk("u", &format!("{guess}")));
        cache.put(wrong, false, at(1));
        assert_eq!(cache.get(&wrong, at(1)), Some(false));
    }
    assert_eq!((cache.get(&right, at(1)), cache.counts()), (Some(true), (1, 3)));
}

#[test]
fn oldest_result_goes_first() {
    let mut cache = Cache::new([1; 16], 2);
    let checks: Vec<_> = ["a", "b", "c"].iter().map(|user| cache.check("v", &mk(user, "p"))).collect();
    cache.put(checks[0], true, at(0));
    cache.put(checks[1], true, at(1));
    cache.put(checks[0], true, at(2));
    assert_eq!(cache.counts(), (2, 0), "a result has one place");
    cache.put(checks[2], true, at(3));
    let found: Vec<_> = checks.iter().map(|check| cache.get(check, at(3))).collect();
    assert_eq!(found, [Some(true), None, Some(true)]);
}

#[test]
fn debug_output_keeps_secrets() {
    let mut cache = Cache::new([1; 16], 2);
    let check = cache.check("v", &mk("user", "hunter2"));
    cache.put(check, true, at(0));
    assert_eq!(format!("{check:?} {cache:?}"), "Check(..) Cache { counts: (1, 0), .. }");
}
