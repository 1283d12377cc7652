//! The flags that decide what custom resources mean: [`Settings`]. `portreeve up` and `portreeve translate` have them too.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use portreeve_api::d::CLUSTER_NAME_ANNOTATION;
use portreeve_api::identifiers::{is_dns_label, is_label_key};

use crate::selection::SelectorScope;

/// The flags that decide what custom resources mean.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Settings {
    /// Namespaces in which selectors find pods.
    #[arg(long, value_enum, default_value = "namespace")]
    pub selector_scope: SelectorScope,
    /// Annotation by which a pod joins a cluster of IngressListeners and EgressListeners.
    #[arg(long, value_name = "KEY", default_value = CLUSTER_NAME_ANNOTATION, value_parser = annotation)]
    pub cluster_name_annotation: String,
    /// Namespaces whose pods may join clusters by that annotation, separated by commas. CLUSTER=NAMESPACE limits one
    /// cluster; the names without a cluster are for all others. Default: all namespaces.
    #[arg(long, value_name = "NAMES", default_value_t, hide_default_value = true)]
    pub cluster_namespaces: Joiners,
}

/// The namespaces whose pods may join clusters, the value of `--cluster-namespaces`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joiners {
    /// The namespaces by cluster; under `None` those of all clusters that have no entry. A missing entry: all namespaces.
    named: BTreeMap<Option<String>, Vec<String>>,
}

fn annotation(text: &str) -> Result<String, String> {
    match is_label_key(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not the key of an annotation, as cluster-name.envoy.uw.io")),
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            selector_scope: SelectorScope::default(),
            cluster_name_annotation: CLUSTER_NAME_ANNOTATION.to_owned(),
            cluster_namespaces: Joiners::default(),
        }
    }
}

impl From<SelectorScope> for Settings {
    fn from(selector_scope: SelectorScope) -> Self {
        Self { selector_scope, ..Self::default() }
    }
}

// === impl Joiners ===

impl Joiners {
    /// Returns whether pods of the namespace may join the cluster.
    pub fn admit(&self, cluster: &str, namespace: &str) -> bool {
        let own = self.named.get(&Some(cluster.to_owned()));
        let names = own.or_else(|| self.named.get(&None));
        names.is_none_or(|names| names.iter().any(|name| name == namespace))
    }
}

impl fmt::Display for Joiners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |(cluster, names): (&Option<String>, &Vec<String>)| {
            let before = cluster.as_ref().map(|cluster| format!("{cluster}=")).unwrap_or_default();
            names.iter().map(move |name| format!("{before}{name}")).collect::<Vec<_>>()
        };
        f.write_str(&self.named.iter().flat_map(of).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Joiners {
    type Err = String;

    /// # Errors
    /// Returns an error that quotes the entry that is neither `NAMESPACE` nor `CLUSTER=NAMESPACE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut named: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
        for entry in text.split(',').filter(|_| !text.is_empty()) {
            // A cluster's name may hold an equals sign; a namespace's can't.
            let (cluster, name) = match entry.rsplit_once('=') {
                Some((cluster, name)) => (Some(cluster.to_owned()), name),
                None => (None, entry),
            };
            if !is_dns_label(name) || cluster.as_deref() == Some("") {
                return Err(format!("{entry:?} is neither NAMESPACE nor CLUSTER=NAMESPACE"));
            }
            named.entry(cluster).or_default().push(name.to_owned());
        }
        named.values_mut().for_each(|names| {
            names.sort();
            names.dedup();
        });
        Ok(Self { named })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        settings: Settings,
    }

    fn read(flags: &[&str]) -> Result<Settings, clap::Error> {
        Flags::try_parse_from([&["hub"], flags].concat()).map(|flags| flags.settings)
    }

    #[test]
    fn annotation_is_that_of_the_replaced_control_plane_unless_the_flag_names_another() {
        assert_eq!(read(&[]).unwrap(), Settings::default());
        let other = read(&["--cluster-name-annotation", "example.com/cluster"]).unwrap();
        assert_eq!(other.cluster_name_annotation, "example.com/cluster");
        assert!(read(&["--cluster-name-annotation", "a b"]).is_err());
    }

    #[test]
    fn joiners_are_written_as_they_are_read() {
        for text in ["", "a", "a,b,bar=a,bar=c", "x=y=a"] {
            assert_eq!(text.parse::<Joiners>().unwrap().to_string(), text);
        }
        assert_eq!("b,a,b".parse::<Joiners>().unwrap().to_string(), "a,b");
        for wrong in [",", "a,", "bar=", "=a", "A", "a b"] {
            assert!(wrong.parse::<Joiners>().is_err(), "{wrong:?}");
        }
    }
}
