//! The names that the proxies of a node's pods announce, as its agent tells the hub: by the pods' uids, as a JSON object in the
//! node's metadata when it connects ([`text`], [`parse`]), and in its reports after each change.

use std::collections::BTreeMap;

use portreeve_xds::Name;

/// Maximum number of names of one node. Kubernetes runs at most a few hundred pods on one.
pub const MOST: usize = 4_096;

/// Maximum length of a pod's uid, and of a name, in bytes.
pub const LONGEST: usize = 253;

/// Returns the names as text for the node's metadata; `None` if there are none. Names beyond the limits are left out.
pub fn text(names: &BTreeMap<Name, String>) -> Option<String> {
    let fit: BTreeMap<&str, &str> = names
        .iter()
        .filter(|(uid, name)| fits(uid, name))
        .take(MOST)
        .map(|(uid, name)| (&**uid, &**name))
        .collect();
    (!fit.is_empty()).then(|| serde_json::json!(fit).to_string())
}

/// Reads the names from the text of the node's metadata.
///
/// # Errors
/// Returns an error if the text is not a JSON object of texts, or exceeds the limits.
pub fn parse(text: &str) -> Result<BTreeMap<Name, String>, String> {
    let names: BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|error| format!("not a JSON object of uids and names: {error}"))?;
    check(names.iter().map(|(uid, name)| (uid.as_str(), name.as_str())))?;
    Ok(names.into_iter().map(|(uid, name)| (uid.into(), name)).collect())
}

/// Checks names against the limits.
///
/// # Errors
/// Returns what exceeds a limit, and the limit.
pub fn check<'a>(names: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Result<(), String> {
    if names.len() > MOST {
        return Err(format!("{} proxy names; at most {MOST} are taken", names.len()));
    }
    let bad = names.into_iter().find(|(uid, name)| !fits(uid, name));
    bad.map_or(Ok(()), |(uid, name)| {
        Err(format!(
            "a proxy name of {} bytes for a uid of {}; both need 1 to {LONGEST} bytes",
            name.len(),
            uid.len()
        ))
    })
}

/// Returns whether a report may hold a pod's name.
pub fn fits(uid: &str, name: &str) -> bool {
    [uid, name].iter().all(|text| (1..=LONGEST).contains(&text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[(&str, &str)]) -> BTreeMap<Name, String> {
        all.iter().map(|(uid, name)| (Name::from(*uid), (*name).to_owned())).collect()
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let all = names(&[("uid-1", "bob"), ("uid-2", "a \"quoted\" name, with = and \u{e9}")]);
        assert_eq!(parse(&text(&all).unwrap()), Ok(all));
        assert_eq!(text(&names(&[])), None);
    }

    #[test]
    fn what_exceeds_a_limit_is_neither_written_nor_taken() {
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(text(&names(&[("u", &long), ("", "n"), ("v", "")])), None);
        let many: BTreeMap<Name, String> =
            (0..=MOST).map(|i| (Name::from(format!("u{i}")), "n".to_owned())).collect();
        assert_eq!(parse(&text(&many).unwrap()).map(|names| names.len()), Ok(MOST));
        for wrong in ["", "[]", "{\"u\": 1}", "{\"u\": \"\"}", &format!("{{\"u\": \"{long}\"}}")] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let all: Vec<(String, &str)> = (0..=MOST).map(|i| (format!("u{i}"), "n")).collect();
        assert!(check(all.iter().map(|(uid, name)| (uid.as_str(), *name))).is_err());
    }
}
