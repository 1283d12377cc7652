//! The namespaces that a hub is restricted to: [`Namespaces`], the value of `--namespaces`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use portreeve_api::identifiers::is_dns_label;
use portreeve_xds::Name;

/// Maximum length of a namespace's name, in characters.
const LONGEST: usize = 63;

/// The namespaces whose objects a hub serves. Empty: all namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(BTreeSet<Name>);

// === impl Namespaces ===

impl Namespaces {
    /// Returns the watches that each namespaced kind needs: one per namespace, or a single one (`None`) for all
    /// namespaces.
    pub fn watched(&self) -> Vec<Option<Name>> {
        match self.0.is_empty() {
            true => vec![None],
            false => self.0.iter().cloned().map(Some).collect(),
        }
    }

    /// The names; `None` if the hub serves all namespaces.
    pub fn only(&self) -> Option<&BTreeSet<Name>> {
        Some(&self.0).filter(|names| !names.is_empty())
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|name| &**name).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Namespaces {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let read = |name: &str| match is_dns_label(name) && name.len() <= LONGEST {
            true => Ok(Name::from(name)),
            false => Err(format!("{name:?} is not the name of a namespace")),
        };
        text.split(',').map(read).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_written_as_they_are_read() {
        for text in ["", "calls", "calls,more"] {
            assert_eq!(text.parse::<Namespaces>().unwrap().to_string(), text);
        }
        assert_eq!("more,calls,more".parse::<Namespaces>().unwrap().to_string(), "calls,more");
    }

    #[test]
    fn what_is_no_namespace_is_named() {
        let long = "a".repeat(64);
        for (text, named) in [
            (",", "\"\""),
            ("calls,", "\"\""),
            ("calls, more", "\" more\""),
            ("a/b", "\"a/b\""),
            (&long, "aaa"),
        ] {
            assert!(text.parse::<Namespaces>().unwrap_err().contains(named), "{text:?}");
        }
    }

    #[test]
    fn without_a_name_all_namespaces_are_watched_at_once() {
        assert_eq!(Namespaces::default().watched(), [None]);
        let some: Namespaces = "calls,more".parse().unwrap();
        assert_eq!(some.watched(), [Some("calls".into()), Some("more".into())]);
    }
}
