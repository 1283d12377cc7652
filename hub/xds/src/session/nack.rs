//! Reading the text of a rejection: which of the resources that were sent does it name, and why.
//!
//! Envoy writes `Error adding/updating listener(s) NAME: reason\nNAME2: reason` (clusters are joined by `, `) and cuts
//! the text at about 4 kB. A name is believed only where an item can start, only as a whole and only if it was sent.

use crate::resource::Name;

/// Longest text that is looked at, bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Longest text that is passed on, bytes.
const MAX_DETAIL: usize = 1024;
/// Colons tried as the end of a name, as names may hold some themselves.
const MAX_COLONS: usize = 16;

/// The resources that the text names, each with its reason.
pub(super) fn culprits(text: &str, sent: impl Fn(&str) -> Option<Name>) -> Vec<(Name, &str)> {
    let text = truncated(text, MAX_TEXT);
    let mut found: Vec<(Name, usize, usize)> = Vec::new();
    for start in item_starts(text) {
        let Some((name, end)) = name_at(&text[start..], &sent) else { continue };
        if found.iter().all(|(other, ..)| *other != name) {
            found.push((name, start, start + end));
        }
    }
    let ends: Vec<usize> = found.iter().skip(1).map(|(_, start, _)| *start).chain([text.len()]).collect();
    let reasons = found.into_iter().zip(ends);
    reasons.map(|((name, _, from), to)| (name, text[from + 1..to].trim())).collect()
}

/// Where an item of the list can start: at the beginning and behind each separator.
fn item_starts(text: &str) -> impl Iterator<Item = usize> {
    let behind = ["(s) ", "\n", ", "]
        .into_iter()
        .flat_map(|separator| text.match_indices(separator).map(|(at, found)| at + found.len()));
    let mut starts: Vec<usize> = behind.chain([0]).collect();
    starts.sort_unstable();
    starts.into_iter()
}

/// The longest sent name at the beginning of `item` that is followed by a colon.
fn name_at(item: &str, sent: &impl Fn(&str) -> Option<Name>) -> Option<(Name, usize)> {
    let line = item.split('\n').next().unwrap_or_default();
    let colons = line.match_indices(':').take(MAX_COLONS).map(|(at, _)| at);
    colons.filter_map(|end| sent(&line[..end]).map(|name| (name, end))).last()
}

/// What may be passed on of a text: at most 1 KiB, and nothing where it could quote a secret.
pub(super) fn detail(text: &str, secret: bool) -> String {
    match secret {
        true => "rejected (the text may quote a secret and is not shown)".into(),
        false => truncated(text, MAX_DETAIL).into(),
    }
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
    fn a_part_of_a_name_is_not_believed() {
        assert!(named("Error adding/updating listener(s) web-12: bad", &["web-1", "12"]).is_empty());
    }

    #[test]
    fn a_name_cut_off_at_the_end_is_not_believed() {
        assert_eq!(named("Error adding/updating listener(s) a: bad\nweb-1", &["a", "web-1"]).len(), 1);
    }

    #[test]
    fn a_name_that_was_not_sent_is_not_believed() {
        assert!(named("Error adding/updating listener(s) other: bad", &["mine"]).is_empty());
    }

    #[test]
    fn a_name_inside_a_reason_is_not_believed() {
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
    fn detail_of_a_secret_is_never_shown() {
        assert!(!detail("PRIVATE KEY", true).contains("KEY"));
    }
}
