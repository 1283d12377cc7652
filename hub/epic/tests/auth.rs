//! Credentials, htpasswd files and the accounts that they serve.
#![allow(clippy::unwrap_used, reason = "a test ends where its own input can't be read")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portreeve_epic::auth::{
    Credentials, CredentialsError, Htpasswd, MAX_COST, MAX_HEADER, MAX_USER, MAX_USERS, Problem, Scope, Why,
};
use portreeve_epic::path::Target;

/// A hash of `U*U`, one of the test vectors of crypt_blowfish.
const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// Another vector: its password has 72 bytes, and bytes after them don't matter.
const LONG_HASH: &str = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui";
const LONG: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

fn basic(text: impl AsRef<[u8]>) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

fn mk(user: &str, password: &str) -> Credentials {
    Credentials::parse(&basic(format!("{user}:{password}"))).unwrap()
}

fn file(text: &str) -> Htpasswd {
    let (file, problems) = Htpasswd::parse(text);
    assert_eq!(problems, []);
    file
}

#[test]
fn credentials_are_read_in_any_case_of_the_scheme() {
    for scheme in ["Basic ", "basic ", "BASIC ", "bAsIc   ", " Basic "] {
        let header = format!("{scheme}{}", STANDARD.encode("Aladdin:open sesame"));
        assert_eq!(Credentials::parse(&header), Ok(mk("Aladdin", "open sesame")), "{scheme:?}");
    }
    assert_eq!(mk("Aladdin", "x").user(), "Aladdin");
    assert_eq!(mk("", "x").user(), "");
}

#[test]
fn first_colon_ends_the_user() {
    let credentials = mk("u", "a:b:c");
    let hash = bcrypt::hash_with_salt("a:b:c", 4, [7; 16]).unwrap().to_string();
    assert!(file(&format!("u:{hash}")).verify(&credentials));
}

#[test]
fn header_that_is_not_basic_is_refused() {
    for (header, error) in [
        (String::new(), CredentialsError::Scheme),
        ("Basic".into(), CredentialsError::Scheme),
        ("Bearer dTpw".into(), CredentialsError::Scheme),
        ("Basic\tdTpw".into(), CredentialsError::Scheme),
        ("Basicx dTpw".into(), CredentialsError::Scheme),
        ("Basic u:p".into(), CredentialsError::Base64),
        ("Basic dTpw dTpw".into(), CredentialsError::Base64),
        ("Basic dTpwYQ".into(), CredentialsError::Base64),
        (basic(b"u:\xff"), CredentialsError::Utf8),
        (basic("user"), CredentialsError::Colon),
        (basic(""), CredentialsError::Scheme),
        (basic("u:p\0"), CredentialsError::Control),
        (basic("u\n:p"), CredentialsError::Control),
        (basic(format!("{}:p", "u".repeat(MAX_USER + 1))), CredentialsError::User),
        (basic("u:".to_owned() + &"p".repeat(MAX_HEADER)), CredentialsError::TooLong),
        ("x".repeat(10_000_000), CredentialsError::TooLong),
    ] {
        let found = Credentials::parse(&header);
        assert_eq!(found, Err(error), "{}", &header[..header.len().min(80)]);
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(mk(&"u".repeat(MAX_USER), "p").user().len(), MAX_USER);
}

#[test]
fn debug_output_keeps_secrets() {
    let shown = format!("{:?}", mk("user", "hunter2"));
    assert_eq!(shown, "Credentials { user: \"user\", .. }");
    assert_eq!(format!("{:?}", file(&format!("user:{HASH}"))), "{\"user\"}");
}

#[test]
fn right_password_alone_is_let_in() {
    let text = format!("# users\n\n  u:{HASH}  \r\nlong:{LONG_HASH}\n");
    let users = file(&text);
    assert_eq!((users.len(), users.is_empty(), users.has("u"), users.has("x")), (2, false, true, false));
    for (user, password, right) in [
        ("u", "U*U", true),
        ("u", "U*U*", false),
        ("u", "", false),
        ("u", HASH, false),
        ("U", "U*U", false),
        ("x", "U*U", false),
        ("", "U*U", false),
        ("long", LONG, true),
        ("long", "U*U", false),
        ("long", &LONG[..71], false),
    ] {
        assert_eq!(users.verify(&mk(user, password)), right, "{user} {password}");
    }
    assert!(!file("").verify(&mk("u", "U*U")), "nobody is in an empty file");
}

#[test]
fn bytes_of_a_password_after_the_seventy_second_do_not_matter() {
    let users = file(&format!("long:{LONG_HASH}"));
    for rest in ["", "chars after 72 are ignored", "x"] {
        assert!(users.verify(&mk("long", &format!("{LONG}{rest}"))), "{rest}");
    }
}

#[test]
fn all_three_versions_of_bcrypt_are_taken() {
    for version in ["2a", "2b", "2y"] {
        let users = file(&format!("u:{}", HASH.replace("2a", version)));
        assert!(users.verify(&mk("u", "U*U")), "{version}");
    }
}

#[test]
fn other_lines_are_problems_that_hide_the_hash() {
    let cost = |cost: &str| format!("u:{}", HASH.replace("$05$", &format!("${cost}$")));
    let user = |user: Option<&str>| user.map(str::to_owned);
    let cut = format!("u:{}", &HASH[..59]);
    let long = format!("{}:{HASH}", "u".repeat(MAX_USER + 1));
    for (line, name, why) in [
        ("password", None, Why::Colon),
        (HASH, None, Why::Colon),
        (&format!(":{HASH}"), None, Why::User),
        (&format!("a\tb:{HASH}"), None, Why::User),
        (&long, None, Why::User),
        (&format!("{HASH}:u"), None, Why::Hash),
        ("u:", Some("u"), Why::Hash),
        ("u:secret", Some("u"), Why::Hash),
        ("u:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", Some("u"), Why::Hash),
        ("u:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", Some("u"), Why::Hash),
        (&format!("u:{}", HASH.replace("2a", "2x")), Some("u"), Why::Hash),
        (&format!("u:{HASH}:more"), Some("u"), Why::Hash),
        (&format!("u:{HASH}é"), Some("u"), Why::Hash),
        (&cut, Some("u"), Why::Hash),
        (&cost("03"), Some("u"), Why::Cost(3)),
        (&cost("15"), Some("u"), Why::Cost(MAX_COST + 1)),
        (&cost("31"), Some("u"), Why::Cost(31)),
        (&cost("99"), Some("u"), Why::Cost(99)),
    ] {
        let (users, problems) = Htpasswd::parse(&format!("ok:{HASH}\n# x\n{line}"));
        assert_eq!(problems, [Problem { line: 3, user: user(name), why }], "{line}");
        let shown = format!("{} {:?}", problems[0], problems[0]);
        assert!(
            shown.contains("line 3") && !shown.contains("E5YPO9") && !shown.contains("secret"),
            "{shown}"
        );
        assert_eq!((users.len(), users.has("ok")), (1, true), "other lines are used");
    }
}

#[test]
fn first_line_of_a_user_counts() {
    let (users, problems) = Htpasswd::parse(&format!("u:{HASH}\nu:{LONG_HASH}"));
    assert_eq!(problems, [Problem { line: 2, user: Some("u".into()), why: Why::Repeated }]);
    assert!(users.verify(&mk("u", "U*U")) && !users.verify(&mk("u", LONG)));
}

#[test]
fn file_has_a_limit() {
    let lines: Vec<String> = (0..=MAX_USERS).map(|at| format!("u{at}:{HASH}")).collect();
    let (users, problems) = Htpasswd::parse(&lines.join("\n"));
    assert_eq!(users.len(), MAX_USERS);
    assert_eq!(problems.iter().map(|one| one.why).collect::<Vec<_>>(), [Why::TooMany]);
}

#[test]
fn secret_serves_the_account_of_its_namespace() {
    let in_account = |account: &str| Target::Account { account: account.into() };
    let own = Scope::Account("a".into());
    for (namespace, scope) in [
        ("epic", Some(Scope::All)),
        ("epic-a", Some(own.clone())),
        ("epic-", None),
        ("epic-A", None),
        ("default", None),
        ("epica", None),
        ("xepic-a", None),
        ("", None),
    ] {
        assert_eq!(Scope::of_namespace(namespace), scope, "{namespace}");
    }
    for (scope, target, allowed) in [
        (&Scope::All, in_account("a"), true),
        (&Scope::All, in_account("b"), true),
        (&own, in_account("a"), true),
        (&own, in_account("b"), false),
        (&own, in_account("aa"), false),
        (&own, Target::Health, true),
        (&own, Target::Service { account: "b".into(), service: "a".into() }, false),
    ] {
        assert_eq!(scope.allows(&target), allowed, "{scope:?} {target}");
    }
}
