//! Parses the text of a rejection: which of the sent resources it names, and why ([`culprits`]).
//!
//! Envoy writes `Error adding/updating listener(s) NAME: reason\nNAME2: reason` (clusters are joined by `, `) and cuts
//! the text at about 4 kB. A name counts only where an item can start, only if `: ` follows it, and only if it was sent.
//! Text inside such a name is part of the name, so a name that contains separators blames no other resource.

use crate::resource::Name;

/// Longest text that is parsed, bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Longest text that is passed on, bytes.
const MAX_DETAIL: usize = 1024;
/// Colons that are tried as the end of a name. Names may contain colons.
const MAX_COLONS: usize = 16;
/// Longest name that is found, bytes.
const MAX_NAME: usize = 2048;

/// A sent name that was found in the text.
struct Item {
    name: Name,
    /// Where the name starts.
    start: usize,
    /// Where the reason starts.
    reason: usize,
}

/// Returns the resources that the text names, each with its reason. `sent` returns the name if it was sent.
pub(super) fn culprits(text: &str, sent: impl Fn(&str) -> Option<Name>) -> Vec<(Name, &str)> {
    let text = truncated(text, MAX_TEXT);
    let items = items(text, sent);
    let ends: Vec<usize> = items.iter().skip(1).map(|next| next.start).chain([text.len()]).collect();
    let mut found: Vec<(Name, &str)> = Vec::new();
    for (item, end) in items.into_iter().zip(ends) {
        if found.iter().all(|(name, _)| *name != item.name) {
            found.push((item.name, text.get(item.reason..end).unwrap_or_default().trim()));
        }
    }
    found
}

/// The names in order. None starts inside another one, so each reason ends behind its start.
fn items(text: &str, sent: impl Fn(&str) -> Option<Name>) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for start in item_starts(text) {
        if items.last().is_some_and(|item| start < item.reason) {
            continue;
        }
        if let Some((name, end)) = name_at(&text[start..], &sent) {
            items.push(Item { name, start, reason: start + end + 1 });
        }
    }
    items
}

/// The positions where an item can start: the beginning, and behind each separator.
fn item_starts(text: &str) -> impl Iterator<Item = usize> {
    let behind = ["(s) ", "\n", ", "]
        .into_iter()
        .flat_map(|separator| text.match_indices(separator).map(|(at, found)| at + found.len()));
    let mut starts: Vec<usize> = behind.chain([0]).collect();
    starts.sort_unstable();
    starts.into_iter()
}

/// The longest sent name at the beginning of `item` that a colon and a space follow, with the colon's position.
fn name_at(item: &str, sent: &impl Fn(&str) -> Option<Name>) -> Option<(Name, usize)> {
    let head = truncated(item, MAX_NAME);
    let colons = head.match_indices(": ").take(MAX_COLONS).map(|(at, _)| at);
    colons.filter_map(|end| sent(&head[..end]).map(|name| (name, end))).last()
}

/// Returns the part of a text that may be passed on: one line of at most 1 KiB, or a constant if the text could quote a
/// secret. The result goes to logs, conditions and terminals, so control characters become spaces.
pub(super) fn detail(text: &str, secret: bool) -> String {
    if secret {
        return "rejected (the text may quote a secret and is not shown)".into();
    }
    let plain: String =
        truncated(text, MAX_DETAIL).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim_end().into()
}

fn truncated(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'t>(text: &'t str, sent: &[&str]) -> Vec<(String, &'t str)> {
        let member = |name: &str| sent.contains(&name).then(|| Name::from(name));
        culprits(text, member).into_iter().map(|(name, reason)| (name.to_string(), reason)).collect()
    }

    #[test]
    fn listeners_are_named_line_by_line() {
        let text = "Error adding/updating listener(s) a: no good\nb: bad: too";
        assert_eq!(named(text, &["a", "b", "c"]), [("a".into(), "no good"), ("b".into(), "bad: too")]);
    }

    #[test]
    fn clusters_are_named_behind_commas() {
        let text = "Error adding/updating cluster(s) x/y:z: one, q: two";
        assert_eq!(named(text, &["x/y:z", "q"]), [("x/y:z".into(), "one,"), ("q".into(), "two")]);
    }

    #[test]
    fn a_part_of_a_name_does_not_count() {
        assert!(named("Error adding/updating listener(s) web-12: bad", &["web-1", "12"]).is_empty());
    }

    #[test]
    fn a_name_cut_off_at_the_end_does_not_count() {
        assert_eq!(named("Error adding/updating listener(s) a: bad\nweb-1", &["a", "web-1"]).len(), 1);
    }

    #[test]
    fn a_name_that_was_not_sent_does_not_count() {
        assert!(named("Error adding/updating listener(s) other: bad", &["mine"]).is_empty());
    }

    #[test]
    fn a_name_inside_a_reason_does_not_count() {
        let text = "Error adding/updating listener(s) a: duplicate address of 'b': refused";
        assert_eq!(named(text, &["a", "b"]).len(), 1);
    }

    #[test]
    fn detail_is_cut_at_a_character() {
        let text = "é".repeat(1000);
        let cut = detail(&text, false);
        assert!(cut.len() <= 1024 && text.starts_with(&cut));
    }

    #[test]
    fn detail_is_one_line_without_control_characters() {
        assert_eq!(detail("a: no\nb: \u{1b}[31mno\r\n", false), "a: no b:  [31mno");
    }

    #[test]
    fn detail_of_a_secret_is_never_shown() {
        assert!(!detail("PRIVATE KEY", true).contains("KEY"));
    }

    #[test]
    fn name_that_contains_other_names_is_found_whole() {
        let text = "Error adding/updating listener(s) A/ns/o/z, A/ns/o/b: cannot bind";
        let named = named(text, &["A/ns/o/z, A/ns/o/b", "A/ns/o/b"]);
        assert_eq!(named, [("A/ns/o/z, A/ns/o/b".into(), "cannot bind")]);
    }

    #[test]
    fn name_inside_a_rejected_name_is_not_blamed() {
        for bad in
            ["A/ns/o/z, A/x/o/l: x", "A/ns/o/z\nA/x/o/l: x", "z (s) A/x/o/l: x", "A/x/o/l: x, A/x/o/l: x"]
        {
            let text = format!("Error adding/updating listener(s) {bad}: cannot bind '0.0.0.0:5000'");
            let named = named(&text, &[bad, "A/x/o/l"]);
            assert_eq!(named, [(bad.to_string(), "cannot bind '0.0.0.0:5000'")]);
        }
    }

    #[test]
    fn beginning_of_a_name_with_a_colon_does_not_count() {
        assert!(named("Error adding/updating listener(s) web:80: bad", &["web"]).is_empty());
    }

    /// A text of random pieces.
    fn random(rng: &mut impl rand::Rng, pieces: &[&str], longest: usize) -> String {
        let count = rng.random_range(0..=longest);
        (0..count).map(|_| pieces[rng.random_range(0..pieces.len())]).collect()
    }

    #[test]
    fn any_text_and_any_names_parse_without_panic() {
        use rand::SeedableRng;
        const PIECES: [&str; 12] =
            ["a", "b", "/", ":", ": ", ", ", "\n", "(s) ", "Error ", "é", " ", "\u{1F600}"];
        let mut rng = rand::rngs::SmallRng::seed_from_u64(7);
        for _ in 0..20_000 {
            let names: Vec<String> = (0..4).map(|_| random(&mut rng, &PIECES, 5)).collect();
            let with: Vec<&str> = names.iter().map(String::as_str).chain(PIECES).collect();
            let text = random(&mut rng, &with, 16);
            let sent: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut behind = 0;
            for (name, reason) in named(&text, &sent) {
                assert!(names.contains(&name), "{text:?}: {name:?}");
                let at = reason.as_ptr() as usize - text.as_ptr() as usize;
                assert!(at >= behind && at + reason.len() <= text.len(), "{text:?}: {reason:?}");
                behind = at + reason.len();
            }
        }
    }

    #[test]
    fn every_rejected_name_without_separators_is_found_with_its_reason() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand::rngs::SmallRng::seed_from_u64(7);
        for _ in 0..2_000 {
            let mut names: Vec<String> = (0..4)
                .map(|_| format!("A/{}", random(&mut rng, &["a", "b", "/", ":", ".", "-"], 6)))
                .collect();
            names.sort();
            names.dedup();
            let sent: Vec<&str> = names.iter().map(String::as_str).collect();
            let bad: Vec<&str> = sent.iter().copied().filter(|_| rng.random_bool(0.5)).collect();
            for separator in ["\n", ", "] {
                let lines: Vec<String> = bad.iter().map(|name| format!("{name}: no {name} here")).collect();
                let text = format!("Error adding/updating listener(s) {}", lines.join(separator));
                let found: Vec<String> = named(&text, &sent).into_iter().map(|(name, _)| name).collect();
                assert_eq!(found, bad, "{text:?}");
            }
        }
    }
}
